"""The one mapping of our own errors to answers, and what an answer says, for those APIs that want a sentence."""

from collections.abc import Iterator, Mapping
from http import HTTPStatus
from typing import Any

from flaskapp import metrics
from flaskapp.errors import FlaskappError

RETRY_AFTER = {"Retry-After": {"description": "Seconds to wait before another try", "schema": {"type": "integer"}}}
SCHEMA = "_schema"  # marshmallow's name for what is wrong with a whole object


def answer_error(error: FlaskappError) -> tuple[dict[str, Any], int, dict[str, str]]:
    """Answer one of our own errors in the shape that flask-smorest gives to all others."""
    metrics.current.count_error(error)
    payload: dict[str, Any] = {"code": error.status.value, "status": error.status.phrase}
    headers = dict(error.headers)
    if error.status is not HTTPStatus.INTERNAL_SERVER_ERROR:
        payload["message"] = str(error)
    if error.retry_after is not None:
        headers["Retry-After"] = str(error.retry_after)
    return payload, error.status.value, headers


def messages(payload: Mapping[str, Any]) -> list[tuple[tuple[str, ...], str]]:
    """What an error's answer says, in its errors' places: `[(("query", "num_beams"), "Not a valid integer.")]`."""
    if payload.get("message") or not payload.get("errors"):
        return [((), str(payload.get("message") or payload["status"]))]
    return list(_leaves(payload["errors"]))


def _leaves(errors: Any, *path: str) -> Iterator[tuple[tuple[str, ...], str]]:
    if isinstance(errors, dict):
        for name, inner in errors.items():
            yield from _leaves(inner, *path, *([] if name == SCHEMA else [str(name)]))
    else:
        yield path, " ".join(errors)
