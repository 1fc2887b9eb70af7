"""The one mapping of our own errors to answers."""

from http import HTTPStatus
from typing import Any

from flaskapp import metrics
from flaskapp.errors import FlaskappError


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
