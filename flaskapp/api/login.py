"""Save a login, or check one that is saved."""

from http import HTTPStatus

import marshmallow as ma
from flask import Response, current_app, jsonify
from marshmallow import validate

from flaskapp.accounts import MAX_PASSWORD, MAX_USERNAME, WRONG_PAIR
from flaskapp.api.blueprint import Blueprint
from flaskapp.api.client_addresses import client_address
from flaskapp.api.fields import Text
from flaskapp.api.rate_limits import TOO_MANY_ATTEMPTS


class Credentials(ma.Schema):
    username = Text(
        required=True,
        validate=validate.Length(min=1, max=MAX_USERNAME),
        metadata={
            "description": "A name. While registration is open, any name that is not saved yet",
            "examples": ["ada"],
        },
    )
    password = Text(
        required=True,
        load_only=True,
        validate=validate.Length(min=1, max=MAX_PASSWORD),
        metadata={"description": "Any text; the server keeps only its argon2id hash", "examples": ["correct horse"]},
    )


blp = Blueprint("login", __name__, description="Saved logins")


@blp.route("/login/", methods=["POST"])
@blp.credentials(Credentials)
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

    If registration is closed, nothing is saved, and an unknown name gets 401, as a wrong password does.
    """
    accounts = current_app.extensions["accounts"]
    save_or_check = accounts.save if current_app.config["REGISTRATION"] == "open" else accounts.check
    guard = current_app.extensions["login_guard"]
    guard.admit(client_address(), username, lambda: save_or_check(username, password))
    return jsonify("login saved")
