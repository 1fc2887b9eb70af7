"""The text model: check e-mail addresses."""

from http import HTTPStatus

import marshmallow as ma
from marshmallow import validate

from flaskapp import emails
from flaskapp.api.fields import MAX_QUERY, Text
from flaskapp.api.protected import ProtectedBlueprint
from flaskapp.api.status import OK, Status

MAX_TEXT = 4096  # characters; an address has at most 254

EMAIL = {"description": "The text that may be an e-mail address", "examples": ["mlops@gmail.com"]}
PROVIDER = {"description": "The provider that the address should be at", "examples": ["gmail"]}
IS_EMAIL = {"description": "Whether the whole text is an e-mail address", "examples": [True]}


class TextQuery(ma.Schema):
    data = Text(required=True, validate=validate.Length(max=MAX_QUERY), metadata=EMAIL)


class EmailAtProvider(ma.Schema):
    email = Text(required=True, validate=validate.Length(max=MAX_TEXT), metadata=EMAIL)
    domain_match = Text(required=True, validate=validate.OneOf(["gmail", "hotmail"]), metadata=PROVIDER)


class TextAnswer(Status):
    input = ma.fields.String(required=True, metadata=EMAIL)
    is_email = ma.fields.Boolean(required=True, metadata=IS_EMAIL)


class EmailAnswer(Status):
    input = ma.fields.Nested(EmailAtProvider, required=True)
    is_email = ma.fields.Boolean(required=True, metadata=IS_EMAIL)
    is_domain_match = ma.fields.Boolean(
        required=True, metadata={"description": "Whether it is an address at that provider", "examples": [True]}
    )


blp = ProtectedBlueprint("text_model", __name__, description="The text model")


@blp.route("/text_model/")
@blp.arguments(TextQuery, location="query", as_kwargs=True)
@blp.response(200, TextAnswer)
def check_text(data: str) -> dict[str, object]:
    """Check whether a text is an e-mail address"""
    return OK | {"input": data, "is_email": emails.is_email(data)}


@blp.route("/text_model/", methods=["POST"])
@blp.arguments(EmailAtProvider)
@blp.response(200, EmailAnswer)
@blp.errors(HTTPStatus.BAD_REQUEST, HTTPStatus.REQUEST_ENTITY_TOO_LARGE, HTTPStatus.UNSUPPORTED_MEDIA_TYPE)
def check_email(body: dict[str, str]) -> dict[str, object]:
    """Check whether a text is an e-mail address at a provider"""
    email, provider = body["email"], body["domain_match"]
    return OK | {"input": body, "is_email": emails.is_email(email), "is_domain_match": emails.is_at(email, provider)}
