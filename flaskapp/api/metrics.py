"""What happened so far, for Prometheus."""

from http import HTTPStatus

from flask import Response

from flaskapp import metrics
from flaskapp.api.blueprint import Blueprint

blp = Blueprint("metrics", __name__, description="What happened so far")


@blp.route("/metrics")
@blp.doc(
    responses={
        "200": {
            "description": "In Prometheus' text format, all workers together",
            "content": {"text/plain": {"schema": {"type": "string"}}},
        }
    }
)
@blp.errors(HTTPStatus.SERVICE_UNAVAILABLE)
def show() -> Response:
    """Count requests, errors, captions, tokens, batches and what waits"""
    return Response(metrics.current.render(), content_type=metrics.CONTENT_TYPE)
