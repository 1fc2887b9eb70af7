"""The course's examples of parameters: an integer path, an enum, a query."""

import marshmallow as ma
from marshmallow import validate

from flaskapp.api.blueprint import Blueprint
from flaskapp.api.fields import MAX_QUERY, DecimalInteger, Text

ITEM_ID = {"description": "Any integer, negative too", "examples": [5]}
Q = {"description": "Any text; the answer repeats it", "examples": ["tea"]}
MODEL = {"description": "One of the known models", "examples": ["lenet"]}


class ItemPath(ma.Schema):
    item_id = DecimalInteger(required=True, metadata=ITEM_ID)


class ItemQuery(ma.Schema):
    q = Text(validate=validate.Length(max=MAX_QUERY), metadata=Q)


class Item(ma.Schema):
    item_id = ma.fields.Integer(required=True, metadata=ITEM_ID)
    q = Text(metadata=Q)


class ModelPath(ma.Schema):
    item_id = Text(required=True, validate=validate.OneOf(["alexnet", "resnet", "lenet"]), metadata=MODEL)


class Model(ma.Schema):
    item_id = Text(required=True, metadata=MODEL)


blp = Blueprint("items", __name__, description="Parameters in the path and in the query")


@blp.route("/items/<item_id>")
@blp.arguments(ItemPath, location="path", as_kwargs=True)
@blp.arguments(ItemQuery, location="query", as_kwargs=True)
@blp.response(200, Item)
def read_item(**item: object) -> dict[str, object]:
    """Echo an integer of the path"""
    return item


@blp.route("/restric_items/<item_id>")
@blp.arguments(ModelPath, location="path", as_kwargs=True)
@blp.response(200, Model)
def read_model(item_id: str) -> dict[str, object]:
    """Echo a model name of the path, one of three"""
    return {"item_id": item_id}


@blp.route("/query_items")
@blp.arguments(ItemPath, location="query", as_kwargs=True)
@blp.response(200, Item)
def read_query(item_id: int) -> dict[str, object]:
    """Echo an integer of the query"""
    return {"item_id": item_id}
