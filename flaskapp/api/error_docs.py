"""Errors in the OpenAPI document: their schema, and for each operation an example of each error."""

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

# Messages of errors, unless an operation documents its own.
MESSAGES = {
    HTTPStatus.REQUEST_URI_TOO_LONG: "The address is too long.",
    HTTPStatus.NOT_FOUND: "there is no such job",
    HTTPStatus.TOO_MANY_REQUESTS: "image quota exceeded: 1 images requested, 0 left of 60 per 1 hour",
    HTTPStatus.SERVICE_UNAVAILABLE: "the database cannot be used at the moment",
    HTTPStatus.GATEWAY_TIMEOUT: "the captions were not ready in time",
}

# Messages by the location of the arguments in the body. `any_json` and `tensors` accept every content type.
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

# The names that validation errors give to locations, where they differ.
NAME_IN_ERRORS = {"credentials": "json", "any_json": "json", "tensors": "json", "form_or_json": "multipart"}

Inputs = Sequence[tuple[str, ma.Schema]]  # the locations of an operation's arguments, and their schemas


class Error(ErrorSchema):
    """The shape of all errors."""

    code = ma.fields.Integer(required=True, metadata={"description": "The HTTP status", "examples": [422]})
    status = ma.fields.String(
        required=True, metadata={"description": "The HTTP status in words", "examples": ["Unprocessable Entity"]}
    )
    message = ma.fields.String(metadata={"description": "What went wrong", "examples": ["the server is busy"]})
    errors = ma.fields.Dict(
        metadata={
            "description": "Messages by the part of the request and the field",
            "examples": [{"query": {"item_id": ["Not a valid integer."]}}],
        }
    )
    error = ma.fields.String(
        metadata={
            "description": "`/image-to-text` only: the same in one text, for Hugging Face's clients",
            "examples": ["query: item_id: Not a valid integer."],
        }
    )


def example(
    status: HTTPStatus, inputs: Inputs, messages: Mapping[HTTPStatus, str], config: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the error that an operation with these arguments answers. `messages` are the operation's own."""
    payload: dict[str, Any] = {"code": status.value, "status": status.phrase}
    if status is HTTPStatus.UNPROCESSABLE_ENTITY:
        return payload | {"errors": _validation_errors(inputs)}
    body = next((location for location, _ in inputs if location in MALFORMED), "")
    texts = {
        HTTPStatus.BAD_REQUEST: MALFORMED.get(body),
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE: too_large(config),
        HTTPStatus.UNSUPPORTED_MEDIA_TYPE: UNSUPPORTED.get(body),
    }
    message = (MESSAGES | texts | dict(messages)).get(status)
    return payload | ({"message": message} if message else {})


def _validation_errors(inputs: Inputs) -> dict[str, Any]:
    """Return the validation errors of an empty input or, if that is valid, of an invalid value of a field."""
    for location, schema in inputs:
        name_in_errors = NAME_IN_ERRORS.get(location, location)
        invalid = [] if name_in_errors == "json" else "?"
        trials: list[dict[str, Any]] = [{field.data_key or name: invalid} for name, field in schema.fields.items()]
        if location != "path":
            trials.insert(0, {})
        for trial in trials:
            if errors := schema.validate(trial):
                return {name_in_errors: errors}
    raise ValueError("every input is valid")
