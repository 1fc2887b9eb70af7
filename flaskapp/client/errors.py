"""The exceptions of the client's methods. They also raise OSError for a file that cannot be opened.

ClientError
├── ServerUnreachable      no connection, or a lost connection, after all retries
│   └── TimedOut           no answer in time
├── UnexpectedAnswer       not an answer of flaskapp: a proxy's page, a redirect, another server's JSON
└── RequestRefused         an error of the server, with `status`, `message` and `errors`
    ├── LoginRefused       401: a wrong login or token, or none
    └── TooBusy            429 or 503, after all retries; try again after `retry_after` seconds
"""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any


class ClientError(Exception):
    """The base class. No message contains a password or a token."""


class ServerUnreachable(ClientError):
    pass


class TimedOut(ServerUnreachable):
    pass


class UnexpectedAnswer(ClientError):
    def __init__(self, message: str, status: int) -> None:
        super().__init__(message, status)
        self.message = message
        self.status = status

    def __str__(self) -> str:
        return self.message


class RequestRefused(ClientError):
    """`errors` are messages by part of the request and field: `{"multipart": {"config": {"num_beams": […]}}}`."""

    def __init__(
        self, status: int, message: str, errors: Mapping[str, Any] | None = None, retry_after: float | None = None
    ) -> None:
        super().__init__(status, message, errors, retry_after)
        self.status = status
        self.message = message
        self.errors = errors or {}
        self.retry_after = retry_after  # seconds

    def __str__(self) -> str:
        return f"{self.status}: {self.message}"


class LoginRefused(RequestRefused):
    pass


class TooBusy(RequestRefused):
    pass


KINDS: Mapping[int, type[RequestRefused]] = {
    HTTPStatus.UNAUTHORIZED: LoginRefused,
    HTTPStatus.TOO_MANY_REQUESTS: TooBusy,
    HTTPStatus.SERVICE_UNAVAILABLE: TooBusy,
}


def refusal(status: int, payload: Mapping[str, Any], retry_after: float | None) -> RequestRefused:
    """Create the exception for the server's error answer."""
    errors = payload.get("errors")
    errors = errors if isinstance(errors, Mapping) else None
    message = payload.get("message") or "; ".join(_sentences(errors)) or payload["status"]
    return KINDS.get(status, RequestRefused)(status, str(message), errors, retry_after)


def _sentences(errors: Any, *path: str) -> list[str]:
    """`{"query": {"item_id": ["Not a valid integer."]}}` -> `query.item_id: Not a valid integer.`"""
    if isinstance(errors, Mapping):
        return [sentence for name, inner in errors.items() for sentence in _sentences(inner, *path, str(name))]
    messages = errors if isinstance(errors, list) else [errors] if errors else []
    return [f"{'.'.join(path)}: {message}" for message in messages]
