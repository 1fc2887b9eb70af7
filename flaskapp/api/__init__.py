"""The HTTP side: one module a resource, and what they share."""

from http import HTTPStatus
from typing import Any

import marshmallow as ma
from flask import Flask
from flask_smorest import Api as SmorestApi
from flask_smorest.error_handler import ErrorSchema

from flaskapp.api import caption, cv_model, docs, fields, items, login, status, text_model
from flaskapp.errors import FlaskappError, InvalidGeneration, Unavailable

DESCRIPTION = "Captions for images, and the other endpoints of an MLOps course, in Flask."

OPENAPI = {
    "API_TITLE": "flaskapp",
    "API_VERSION": "1",
    "OPENAPI_VERSION": "3.1.0",
    "OPENAPI_URL_PREFIX": "/",
    "API_SPEC_OPTIONS": {"info": {"description": DESCRIPTION, "license": {"name": "MIT", "identifier": "MIT"}}},
}


class Error(ErrorSchema):
    """The one shape of every error."""

    code = ma.fields.Integer(required=True, metadata={"description": "The HTTP status", "examples": [422]})
    status = ma.fields.String(
        required=True, metadata={"description": "The HTTP status in words", "examples": ["Unprocessable Entity"]}
    )
    message = ma.fields.String(metadata={"description": "What went wrong", "examples": ["the server is busy"]})
    errors = ma.fields.Dict(
        metadata={
            "description": "What is wrong where: the part of the request, the field in it, the messages",
            "examples": [{"query": {"item_id": ["Not a valid integer."]}}],
        }
    )


class Api(SmorestApi):
    ERROR_SCHEMA = Error

    def _register_pagination_header(self) -> None:
        """Nothing here comes in pages."""


def init_app(app: Flask) -> None:
    """Register every resource, their documentation and the one mapping of errors to answers."""
    app.config.from_mapping(OPENAPI)
    app.url_map.strict_slashes = False  # a trailing slash never matters
    api = Api(app)
    for document in (fields.bounds_from(app.config), fields.document_early_stopping):
        api.ma_plugin.converter.add_attribute_function(document)
    for resource in (status, items, login, text_model, cv_model, caption):
        api.register_blueprint(resource.blp)
    app.register_blueprint(docs.blp)
    app.register_error_handler(FlaskappError, answer_error)


def answer_error(error: FlaskappError) -> tuple[dict[str, Any], int, dict[str, str]]:
    """Answer one of our own errors in the shape that flask-smorest gives to all others."""
    payload: dict[str, Any] = {"code": error.status.value, "status": error.status.phrase}
    headers: dict[str, str] = {}
    if isinstance(error, InvalidGeneration):
        payload["errors"] = {"multipart": {"config": {error.field: [str(error)]}}}
    elif error.status is not HTTPStatus.INTERNAL_SERVER_ERROR:
        payload["message"] = str(error)
    if isinstance(error, Unavailable):
        headers["Retry-After"] = str(error.retry_after)
    return payload, error.status.value, headers
