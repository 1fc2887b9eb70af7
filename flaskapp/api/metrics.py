"""Count requests, and serve the metrics to Prometheus."""

import time
from http import HTTPStatus

from flask import Flask, Response, current_app

from flaskapp import metrics
from flaskapp.api.application import current_request
from flaskapp.api.blueprint import Blueprint

blp = Blueprint("metrics", __name__, description="Prometheus metrics")


def init_app(app: Flask) -> None:
    app.after_request(count_request)


def count_request(response: Response) -> Response:
    request = current_request()
    metrics.current.count_request(
        request.method,
        request.url_rule.rule if request.url_rule else metrics.UNKNOWN,
        response.status_code,
        time.perf_counter() - request.timings.began,
    )
    return response


@blp.route("/metrics")
@blp.file("Prometheus' text format; the sum of all workers", ["text/plain"])
@blp.errors(HTTPStatus.SERVICE_UNAVAILABLE, messages={HTTPStatus.SERVICE_UNAVAILABLE: metrics.NO_PLACE})
def show() -> Response:
    """Metrics of requests, errors, captions, tokens, batches and queues

    While the database is unavailable, the metrics `flaskapp_jobs_…` are missing.
    """
    backlog = current_app.extensions["job_backlog"].latest()
    text = metrics.current.render(backlog.metrics() if backlog is not None else ())
    return Response(text, content_type=metrics.CONTENT_TYPE)
