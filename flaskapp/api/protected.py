"""Endpoints that require HTTP Basic with a saved login, or an API token, if REQUIRE_LOGIN is set."""

from http import HTTPStatus
from typing import Any

from apispec import APISpec
from flask import Flask, current_app, request
from flask.typing import ResponseReturnValue
from flask_httpauth import HTTPBasicAuth, HTTPTokenAuth, MultiAuth
from werkzeug.datastructures import Headers

from flaskapp.api.blueprint import Blueprint
from flaskapp.api.client_addresses import client_address
from flaskapp.api.errors import answer_error
from flaskapp.api.rate_limits import TOO_MANY_ATTEMPTS
from flaskapp.errors import LoginRequired, WrongPassword, WrongToken
from flaskapp.tokens import WRONG_TOKEN, owner

MESSAGE = "log in with a saved username and its password, or with an API token"

# Basic comes first: some browsers read the first challenge only. Without the charset a browser may send names that are
# not ASCII in another encoding than UTF-8.
CHALLENGES = ['Basic realm="flaskapp", charset="UTF-8"', 'Bearer realm="flaskapp"']

SCHEMES = {
    "login": {"type": "http", "scheme": "basic", "description": "A saved login"},
    "token": {"type": "http", "scheme": "bearer", "description": "An API token"},
}
HEADERS = {
    "WWW-Authenticate": {
        "description": "One header for each way to log in",
        "schema": {"type": "string"},
        "example": CHALLENGES[0],
    }
}
REFUSAL = {"code": HTTPStatus.UNAUTHORIZED, "status": HTTPStatus.UNAUTHORIZED.phrase, "message": MESSAGE}
TOO_MANY = {
    "code": HTTPStatus.TOO_MANY_REQUESTS,
    "status": HTTPStatus.TOO_MANY_REQUESTS.phrase,
    "message": TOO_MANY_ATTEMPTS,
}


class BearerAuth(HTTPTokenAuth):
    """Accepts the scheme in upper and lower case (RFC 9110, section 11.1)."""

    def is_compatible_auth(self, headers: Headers) -> bool:
        return request.authorization is not None and request.authorization.type == "bearer"


basic = HTTPBasicAuth()
bearer = BearerAuth()
login = MultiAuth(basic, bearer)


class ProtectedBlueprint(Blueprint):
    """Checks the login before the body is read, and documents that, if REQUIRE_LOGIN is set."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.before_request(require_login)
        self._prepare_doc_cbks.insert(-1, self._document_login)  # before `_document_errors` adds the examples

    def _document_login(
        self, doc: dict[str, Any], doc_info: dict[str, Any], *, app: Flask, spec: APISpec, **_: Any
    ) -> dict[str, Any]:
        if app.config["REQUIRE_LOGIN"]:
            spec.components.security_schemes.update(SCHEMES)
            doc["security"] = [{name: []} for name in SCHEMES]  # either suffices
            responses = doc["responses"]
            responses[HTTPStatus.UNAUTHORIZED.value] = self.document_error(REFUSAL, HEADERS)
            responses.setdefault(HTTPStatus.TOO_MANY_REQUESTS.value, self.document_error(TOO_MANY))
            responses.setdefault(HTTPStatus.SERVICE_UNAVAILABLE.value, HTTPStatus.SERVICE_UNAVAILABLE.name)
        return doc


def require_login() -> ResponseReturnValue | None:
    return _check_login() if current_app.config["REQUIRE_LOGIN"] else None


def username() -> str:
    """Return the name of the login, or the owner of the API token. "" if no login is required."""
    return str(login.current_user()) if current_app.config["REQUIRE_LOGIN"] else ""


def client() -> str:
    """Return the key of this request's client in quotas: the login or token, or the address if no login is required."""
    return username() or client_address()


@login.login_required
def _check_login() -> None:
    """Return None: the decorator has accepted the login or the token."""


@basic.verify_password
def _is_right(username: str, password: str) -> bool:
    if not username:  # no login was sent: this does not count as a failure
        return False
    try:
        current_app.extensions["check_login"](username, password)
    except WrongPassword:
        return False
    return True


@bearer.verify_token
def _owner_of(token: str) -> str | None:
    try:
        return owner(current_app.extensions["check_token"](token))
    except WrongToken:
        return None


@basic.error_handler
def _refuse_login() -> ResponseReturnValue:
    return _refuse(MESSAGE)


@bearer.error_handler
def _refuse_token() -> ResponseReturnValue:
    return _refuse(WRONG_TOKEN)


def _refuse(message: str) -> ResponseReturnValue:
    payload, status, headers = answer_error(LoginRequired(message))
    return payload, status, headers | {"WWW-Authenticate": CHALLENGES}
