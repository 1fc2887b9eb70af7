"""The members `message` and `status-code` of the course's answers, and the endpoint `/`."""

import marshmallow as ma

from flaskapp.api.blueprint import Blueprint

OK = {"message": "OK", "status_code": 200}


class Status(ma.Schema):
    message = ma.fields.String(required=True, metadata={"description": "The HTTP status in words", "examples": ["OK"]})
    status_code = ma.fields.Integer(
        required=True, data_key="status-code", metadata={"description": "The HTTP status", "examples": [200]}
    )


blp = Blueprint("status", __name__, description="Whether the server answers")


@blp.route("/")
@blp.response(200, Status)
def root() -> dict[str, object]:
    """Answer OK"""
    return OK
