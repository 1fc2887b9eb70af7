"""Resources that want HTTP Basic with a saved login, where REQUIRE_LOGIN says so."""

from typing import Any

from apispec import APISpec
from flask import Flask, current_app
from flask.typing import ResponseReturnValue
from flask_httpauth import HTTPBasicAuth

from flaskapp.api.blueprint import Blueprint
from flaskapp.api.error_answer import answer_error
from flaskapp.errors import LoginRequired, WrongPassword

MESSAGE = "log in with a saved username and its password"
# Without the charset a browser may send what is not ASCII in an encoding of its own.
CHALLENGE = 'Basic realm="flaskapp", charset="UTF-8"'

SCHEME = {"type": "http", "scheme": "basic", "description": "A saved login"}
RESPONSES = {"401": "LOGIN_REQUIRED", "429": "TOO_MANY_REQUESTS", "503": "SERVICE_UNAVAILABLE"}
HEADERS = {"WWW-Authenticate": {"description": "What to log in by", "schema": {"type": "string"}, "example": CHALLENGE}}
EXAMPLE = {"code": 401, "status": "Unauthorized", "message": MESSAGE}

basic = HTTPBasicAuth()


class ProtectedBlueprint(Blueprint):
    """Asks for a login, before the body is read, and documents that; neither where the application wants none."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.before_request(ask_for_login)
        self._prepare_doc_cbks.append(self._document_login)

    @staticmethod
    def _document_login(
        doc: dict[str, Any], doc_info: dict[str, Any], *, app: Flask, spec: APISpec, **_: Any
    ) -> dict[str, Any]:
        if app.config["REQUIRE_LOGIN"]:
            spec.components.security_schemes.setdefault("login", SCHEME)
            doc["security"] = [{"login": []}]
            doc["responses"].update(RESPONSES)
        return doc


def ask_for_login() -> ResponseReturnValue | None:
    return _demand_login() if current_app.config["REQUIRE_LOGIN"] else None


def username() -> str:
    """Who is logged in; "" where no login is wanted."""
    return str(basic.current_user()) if current_app.config["REQUIRE_LOGIN"] else ""


@basic.login_required
def _demand_login() -> None:
    """Whoever comes this far is logged in."""


@basic.verify_password
def _is_right(username: str, password: str) -> bool:
    if not username:  # nothing was sent, or nothing that can be saved: no attempt
        return False
    try:
        current_app.extensions["check_login"](username, password)
    except WrongPassword:
        return False
    return True


@basic.error_handler
def _refuse() -> ResponseReturnValue:
    payload, status, headers = answer_error(LoginRequired(MESSAGE))
    return payload, status, headers | {"WWW-Authenticate": CHALLENGE}
