"""Error responses. All have flask-smorest's shape: `code`, `status`, and `message` or `errors`."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any

from flask import current_app, request
from flask_smorest import abort
from webargs.flaskparser import is_json_request
from werkzeug.exceptions import ClientDisconnected, HTTPException, MethodNotAllowed, NotFound, RequestEntityTooLarge

from flaskapp import metrics
from flaskapp.errors import FlaskappError, InvalidGeneration, UnreadableImage, UnreadableUpload

RETRY_AFTER = {"Retry-After": {"description": "Seconds to wait before another try", "schema": {"type": "integer"}}}
SCHEMA = "_schema"  # marshmallow's key for errors of a whole object


def answer_error(error: FlaskappError) -> tuple[dict[str, Any], int, dict[str, str]]:
    """Return the body, the status and the headers for one of this server's own errors."""
    metrics.current.count_error(error)
    payload: dict[str, Any] = {"code": error.status.value, "status": error.status.phrase}
    headers = dict(error.headers)
    if error.status is not HTTPStatus.INTERNAL_SERVER_ERROR:
        payload["message"] = str(error)
    if error.retry_after is not None:
        headers["Retry-After"] = str(error.retry_after)
    return payload, error.status.value, headers


def http_message(error: HTTPException) -> str | None:
    """Return the message for one of Werkzeug's errors. None: its status says enough."""
    if isinstance(error, NotFound):
        return "there is nothing at this address"
    if isinstance(error, MethodNotAllowed):
        *others, last = sorted(set(error.valid_methods or ()) - {"OPTIONS"}) or ["OPTIONS"]
        return f"this address takes {', '.join(others)} and {last}" if others else f"this address takes {last}"
    if isinstance(error, RequestEntityTooLarge):
        return too_large(current_app.config)
    if isinstance(error, ClientDisconnected):
        return "the body ended before its length"
    description: str | None = vars(error).get("description")  # not the generic description of its class
    return description


def too_large(config: Mapping[str, Any]) -> str:
    return f"the body is larger than {config['MAX_UPLOAD_MB']} MiB, the most that this server takes"


@contextmanager
def validation_errors(*path: str | int, location: str | None = None, top_level: Collection[str] = ()) -> Iterator[None]:
    """Answer 422, as validation does, if the block finds that an image, an upload or a generation setting is invalid.

    `path` is the field that the error names, in `location`: by default the request's form or JSON body. A generation
    setting is a member of that field, or a field of its own if `top_level` has its name.
    """
    try:
        yield
    except (UnreadableImage, UnreadableUpload, InvalidGeneration) as error:
        field: Sequence[str | int] = path
        if isinstance(error, InvalidGeneration):
            field = [error.field] if error.field in top_level else [*path, error.field]
        errors: Any = [sentence(error)]
        for name in reversed(field):
            errors = {name: errors}
        abort(HTTPStatus.UNPROCESSABLE_ENTITY, errors={location or body_location(): errors})


def body_location() -> str:
    """Return the name that errors give to the body of this request, if it may be a form or JSON."""
    return "json" if is_json_request(request) else "multipart"


def sentence(error: Exception) -> str:
    """Return the text of an error with a capital letter and a full stop, as validation messages have them."""
    text = str(error)
    return text[:1].upper() + text[1:].rstrip(".") + "."


def messages(payload: Mapping[str, Any]) -> list[tuple[tuple[str, ...], str]]:
    """Return each message of an error response with its field: `[(("query", "num_beams"), "Not a valid integer.")]`."""
    if payload.get("message") or not payload.get("errors"):
        return [((), str(payload.get("message") or payload["status"]))]
    return list(_leaves(payload["errors"]))


def _leaves(errors: Any, *path: str) -> Iterator[tuple[tuple[str, ...], str]]:
    if isinstance(errors, dict):
        for name, inner in errors.items():
            yield from _leaves(inner, *path, *([] if name == SCHEMA else [str(name)]))
    else:
        yield path, " ".join(errors)
