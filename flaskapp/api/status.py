"""The message that every answer of the course carries, and the route that says nothing else."""

import marshmallow as ma

from flaskapp.api.blueprint import Blueprint

OK = {"message": "OK", "status_code": 200}


class Status(ma.Schema):
    message = ma.fields.String(required=True, metadata={"description": "The HTTP status in words", "examples": ["OK"]})
    status_code = ma.fields.Integer(
        required=True, data_key="status-code", metadata={"description": "The HTTP status", "examples": [200]}
    )


blp = Blueprint("status", __name__, description="Is it there?")


@blp.route("/")
@blp.response(200, Status)
def root() -> dict[str, object]:
    """Say OK"""
    return OK
