"""The course's application with flask-smorest: `flask --app examples.with_smorest run`. Serves /openapi.json."""

import json
from io import BytesIO
from typing import Any

import marshmallow as ma
from flask import Flask, Response, jsonify, send_file
from flask_smorest import Api, Blueprint
from flask_smorest.fields import Upload
from marshmallow.validate import Length, OneOf, Range
from werkzeug.datastructures import FileStorage

from flaskapp import emails, images
from flaskapp.accounts import MAX_PASSWORD, MAX_USERNAME, Accounts
from flaskapp.captioner import Configuration, GenerationSettings, captioner
from flaskapp.database import Database
from flaskapp.errors import FlaskappError

app = Flask(__name__)
app.config.from_mapping(
    CAPTIONER_MODEL="embedded", DATABASE_URL="sqlite:///logins.db", MAX_CONTENT_LENGTH=2**24,
    API_TITLE="The course's application", API_VERSION="1", OPENAPI_VERSION="3.1.0", OPENAPI_URL_PREFIX="/",
)  # fmt: skip
app.config.from_prefixed_env("FLASKAPP")
captioner.configure(Configuration(model=app.config["CAPTIONER_MODEL"]))
accounts = Accounts(Database(app.config["DATABASE_URL"]))
blp = Blueprint("course", __name__)


class Item(ma.Schema):
    item_id = ma.fields.Integer(required=True)
    q = ma.fields.String()


class ItemQuery(ma.Schema):
    q = ma.fields.String()


class Model(ma.Schema):
    item_id = ma.fields.String(required=True, validate=OneOf(["alexnet", "resnet", "lenet"]))


class Login(ma.Schema):
    username = ma.fields.String(required=True, validate=Length(1, MAX_USERNAME))
    password = ma.fields.String(required=True, validate=Length(1, MAX_PASSWORD))


class Status(ma.Schema):
    message = ma.fields.Constant("OK")
    status_code = ma.fields.Constant(200, data_key="status-code")


class TextQuery(ma.Schema):
    data = ma.fields.String(required=True)


class TextAnswer(Status):
    input = ma.fields.String()
    is_email = ma.fields.Boolean()


class Email(ma.Schema):
    email = ma.fields.String(required=True)
    domain_match = ma.fields.String(required=True, validate=OneOf(["gmail", "hotmail"]))


class EmailAnswer(TextAnswer):
    input = ma.fields.Nested(Email)
    is_domain_match = ma.fields.Boolean()


class ImageFile(ma.Schema):
    data = Upload(required=True)


class ImageFiles(ma.Schema):
    data = ma.fields.List(Upload(), required=True, validate=Length(1, 32))


class Size(ma.Schema):
    h = ma.fields.Integer(load_default=28, validate=Range(1, 4096))
    w = ma.fields.Integer(load_default=28, validate=Range(1, 4096))


class Config(ma.Schema):
    max_length = ma.fields.Integer(validate=Range(2, 64))
    num_beams = ma.fields.Integer(validate=Range(1, 16))
    num_return_sequences = ma.fields.Integer(validate=Range(1, 16))


class NestedJSON(ma.fields.Nested):
    """A form field with JSON text."""

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            return super()._deserialize(json.loads(value), *args, **kwargs)
        except (RecursionError, ValueError) as error:
            raise ma.ValidationError("Not valid JSON.") from error


class CaptionForm(ma.Schema):
    config = NestedJSON(Config, load_default=dict)


class Result(ma.Schema):
    input = ma.fields.String()
    captions = ma.fields.List(ma.fields.String())


class Captions(Status):
    model = ma.fields.String()
    caption = ma.fields.String()
    results = ma.fields.List(ma.fields.Nested(Result))


@app.errorhandler(FlaskappError)
def answer_error(error: FlaskappError) -> tuple[dict[str, Any], int]:
    return {"code": error.status, "status": error.status.phrase, "message": str(error)}, error.status


def pixels(upload: FileStorage) -> images.Picture:
    return images.EncodedImage(upload.read(), max_megapixels=50).decode()


@blp.get("/")
@blp.response(200, Status)
def root() -> dict[str, Any]:
    return {}


@blp.get("/items/<int(signed=True):item_id>")
@blp.arguments(ItemQuery, location="query", as_kwargs=True)
@blp.response(200, Item)
def read_item(**item: object) -> dict[str, Any]:
    return item


@blp.get("/restric_items/<item_id>")
@blp.arguments(Model, location="path", as_kwargs=True)
@blp.response(200, Model)
def read_model(item_id: str) -> dict[str, Any]:
    return {"item_id": item_id}


@blp.get("/query_items")
@blp.arguments(Item(only=["item_id"]), location="query")
@blp.response(200, Item)
def read_query(item: dict[str, Any]) -> dict[str, Any]:
    return item


@blp.post("/login/")
@blp.arguments(Login, location="form", as_kwargs=True)
@blp.response(200, {"type": "string"})
def save_login(username: str, password: str) -> Response:
    accounts.save(username, password)
    return jsonify("login saved")


@blp.get("/text_model/")
@blp.arguments(TextQuery, location="query", as_kwargs=True)
@blp.response(200, TextAnswer)
def check_text(data: str) -> dict[str, Any]:
    return {"input": data, "is_email": emails.is_email(data)}


@blp.post("/text_model/")
@blp.arguments(Email)
@blp.response(200, EmailAnswer)
def check_email(body: dict[str, str]) -> dict[str, Any]:
    email, provider = body["email"], body["domain_match"]
    return {"input": body, "is_email": emails.is_email(email), "is_domain_match": emails.is_at(email, provider)}


@blp.post("/cv_model/")
@blp.arguments(ImageFile, location="files", as_kwargs=True)
@blp.arguments(Size, location="query", as_kwargs=True)
@blp.response(200, {"type": "string", "format": "binary"}, content_type="image/png")
def resize(data: FileStorage, h: int, w: int) -> Response:
    body = images.encode(images.resize(pixels(data), w, h), "png")
    return send_file(BytesIO(body), "image/png", as_attachment=True, download_name="image_resize.png")


@blp.post("/caption/")
@blp.arguments(ImageFiles, location="files", as_kwargs=True)
@blp.arguments(CaptionForm, location="form", as_kwargs=True)
@blp.response(200, Captions)
def caption(data: list[FileStorage], config: dict[str, int]) -> dict[str, Any]:
    captions = captioner.caption([pixels(each).flatten() for each in data], GenerationSettings(**config))
    results = [{"input": each.filename, "captions": those} for each, those in zip(data, captions, strict=True)]
    return {"model": captioner.name, "caption": captions[0][0], "results": results}


Api(app).register_blueprint(blp)
