"""Errors in the OpenAPI document: the schema that all have, and for each operation an example that it can answer."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

import marshmallow as ma
from flask_smorest.error_handler import ErrorSchema

from flaskapp.api.errors import RETRY_AFTER, too_large
from flaskapp.images.formats import refusal

HEADERS = {HTTPStatus.TOO_MANY_REQUESTS: RETRY_AFTER, HTTPStatus.SERVICE_UNAVAILABLE: RETRY_AFTER}

NOT_JSON = "This is not JSON: Expecting value: line 1 column 1 (char 0)."
NO_BOUNDARY = "The content type multipart/form-data has no boundary. Let the HTTP client set it."
NO_JSON_TYPE = "Send JSON, with the content type application/json."
NO_FORM_TYPE = "Send a form, with the content type multipart/form-data."

# What an operation says of an error, unless it documents other words.
MESSAGES = {
    HTTPStatus.NOT_FOUND: "there is no such job",
    HTTPStatus.TOO_MANY_REQUESTS: "image quota exceeded: 1 images requested, 0 left of 60 per 1 hour",
    HTTPStatus.SERVICE_UNAVAILABLE: "the database cannot be used at the moment",
    HTTPStatus.GATEWAY_TIMEOUT: "the captions were not ready in time",
}

# By the location of the arguments that have the body. `any_json` and `tensors` take JSON of every content type.
MALFORMED = {
    "json": NOT_JSON,
    "credentials": NOT_JSON,
    "inputs": NOT_JSON,
    "any_json": NOT_JSON,
    "tensors": NOT_JSON,
    "multipart": NO_BOUNDARY,
    "form_or_json": NO_BOUNDARY,
}
UNSUPPORTED = {
    "json": NO_JSON_TYPE,
    "credentials": NO_JSON_TYPE,
    "inputs": str(refusal(None)),
    "multipart": NO_FORM_TYPE,
    "form_or_json": NO_FORM_TYPE,
}

# What an error with its field calls the location, where it is not the location's own name.
CALLED = {"credentials": "json", "any_json": "json", "tensors": "json", "form_or_json": "multipart"}

Inputs = Sequence[tuple[str, ma.Schema]]  # the locations of an operation's arguments, and their schemas


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
    error = ma.fields.String(
        metadata={
            "description": "Of `/image-to-text` only: the same as a sentence, where Hugging Face's clients look for it",
            "examples": ["query: item_id: Not a valid integer."],
        }
    )


def example(
    status: HTTPStatus, inputs: Inputs, messages: Mapping[HTTPStatus, str], config: Mapping[str, Any]
) -> dict[str, Any]:
    """An error as an operation with these arguments answers it. `messages` are its own words."""
    payload: dict[str, Any] = {"code": status.value, "status": status.phrase}
    if status is HTTPStatus.UNPROCESSABLE_ENTITY:
        return payload | {"errors": _wrong_input(inputs)}
    body = next((location for location, _ in inputs if location in MALFORMED), "")
    words = {
        HTTPStatus.BAD_REQUEST: MALFORMED.get(body),
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE: too_large(config),
        HTTPStatus.UNSUPPORTED_MEDIA_TYPE: UNSUPPORTED.get(body),
    }
    message = (MESSAGES | words | dict(messages)).get(status)
    return payload | ({"message": message} if message else {})


def _wrong_input(inputs: Inputs) -> dict[str, Any]:
    """What validation says of no input or, if that is valid, of a field with a wrong value."""
    for location, schema in inputs:
        called = CALLED.get(location, location)
        wrong = [] if called == "json" else "?"
        trials: list[dict[str, Any]] = [{field.data_key or name: wrong} for name, field in schema.fields.items()]
        if location != "path":
            trials.insert(0, {})
        for trial in trials:
            if errors := schema.validate(trial):
                return {called: errors}
    raise ValueError("every input is valid")
