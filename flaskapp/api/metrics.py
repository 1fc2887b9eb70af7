"""What happened so far, for Prometheus."""

from http import HTTPStatus

from flask import Response, current_app

from flaskapp import metrics
from flaskapp.api.blueprint import Blueprint

blp = Blueprint("metrics", __name__, description="What happened so far")


@blp.route("/metrics")
@blp.file("In Prometheus' text format, all workers together", ["text/plain"])
@blp.errors(HTTPStatus.SERVICE_UNAVAILABLE, messages={HTTPStatus.SERVICE_UNAVAILABLE: metrics.NO_PLACE})
def show() -> Response:
    """Count requests, errors, captions, tokens, batches and what waits

    While the database cannot be used, `flaskapp_jobs_…` are left out.
    """
    backlog = current_app.extensions["job_backlog"].latest()
    text = metrics.current.render(backlog.metrics() if backlog is not None else ())
    return Response(text, content_type=metrics.CONTENT_TYPE)
