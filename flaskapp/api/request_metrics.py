"""What every answer tells of its request, and what the metrics count of it."""

import time
from typing import cast

import flask
from flask import Flask, Response

from flaskapp import metrics
from flaskapp.api.request import Request
from flaskapp.timings import Timings


def init_app(app: Flask) -> None:
    app.after_request(observe)


def timings_of_request() -> Timings:
    """Of the request that is being answered."""
    return cast(Request, flask.request).timings


def observe(response: Response) -> Response:
    request = cast(Request, flask.request._get_current_object())  # type: ignore[attr-defined] # once, not at each look
    response.headers.add("X-Request-ID", request.timings.id)
    if request.timings.seconds:
        parts = [f"{part};dur={1000 * seconds:.1f}" for part, seconds in dict(request.timings.seconds).items()]
        response.headers.add("Server-Timing", ", ".join(parts))
    metrics.current.count_request(
        request.method,
        request.url_rule.rule if request.url_rule else metrics.UNKNOWN,
        response.status_code,
        time.perf_counter() - request.timings.began,
    )
    return response
