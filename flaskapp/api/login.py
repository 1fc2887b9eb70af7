"""Save a login, or check one that is saved."""

from http import HTTPStatus
from typing import Any

import marshmallow as ma
from flask import Response, current_app, jsonify
from marshmallow import validate

from flaskapp.accounts import MAX_PASSWORD, MAX_USERNAME, WRONG_PAIR
from flaskapp.api.blueprint import Blueprint
from flaskapp.api.fields import Text
from flaskapp.api.rate_limits import TOO_MANY_ATTEMPTS, client_address


class Credentials(ma.Schema):
    username = Text(
        required=True,
        validate=validate.Length(min=1, max=MAX_USERNAME),
        metadata={
            "description": "A name; while registration is open, any that nobody else has saved",
            "examples": ["ada"],
        },
    )
    password = Text(
        required=True,
        load_only=True,
        validate=validate.Length(min=1, max=MAX_PASSWORD),
        metadata={"description": "Any text; only an argon2id hash of it is kept", "examples": ["correct horse"]},
    )


def _in_the_query(name: str) -> dict[str, Any]:
    description = "For clients that send neither JSON nor a form. Addresses are logged on their way: do not use it."
    return {"name": name, "in": "query", "deprecated": True, "description": description, "schema": {"type": "string"}}


blp = Blueprint("login", __name__, description="Saved logins")


@blp.route("/login/", methods=["POST"])
@blp.doc(
    requestBody={"required": False, "content": {"application/x-www-form-urlencoded": {"schema": Credentials}}},
    parameters=[_in_the_query("username"), _in_the_query("password")],
)
@blp.arguments(Credentials, location="credentials", as_kwargs=True)
@blp.response(200, {"type": "string", "examples": ["login saved"]})
@blp.errors(
    HTTPStatus.BAD_REQUEST,
    HTTPStatus.UNAUTHORIZED,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    HTTPStatus.TOO_MANY_REQUESTS,
    HTTPStatus.SERVICE_UNAVAILABLE,
    messages={HTTPStatus.UNAUTHORIZED: WRONG_PAIR, HTTPStatus.TOO_MANY_REQUESTS: TOO_MANY_ATTEMPTS},
)
def save_login(username: str, password: str) -> Response:
    """Save a login, or check the password of one that is saved

    Where registration is closed nothing is saved, and an unknown name gets the 401 of a wrong password.
    """
    accounts = current_app.extensions["accounts"]
    enter = accounts.save if current_app.config["REGISTRATION"] == "open" else accounts.check
    guard = current_app.extensions["login_guard"]
    guard.admit(client_address(), username, lambda: enter(username, password))
    return jsonify("login saved")
