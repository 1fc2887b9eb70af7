"""Headers of every response: the request's id and timings, and what a browser may not do with the response."""

from collections.abc import Callable, Iterable
from typing import Any

from flask import Flask, Response

from flaskapp.api.application import current_request

SECURITY_HEADERS = [
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
]
POLICY_NAME, POLICY = "Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'"

Headers = list[tuple[str, str]]


def init_app(app: Flask) -> None:
    app.after_request(add_request_headers)
    app.wsgi_app = with_security_headers(app.wsgi_app)  # type: ignore[method-assign]


def add_request_headers(response: Response) -> Response:
    timings = current_request().timings
    response.headers.add("X-Request-ID", timings.id)
    if timings.seconds:
        parts = [f"{part};dur={1000 * seconds:.1f}" for part, seconds in dict(timings.seconds).items()]
        response.headers.add("Server-Timing", ", ".join(parts))
    return response


def with_security_headers(application: Callable[..., Iterable[bytes]]) -> Callable[..., Iterable[bytes]]:
    """Return a WSGI application that adds the security headers to the responses of another."""

    def answer(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        def start(status: str, headers: Headers, *exc_info: Any) -> Any:
            has_policy = any(name == POLICY_NAME for name, _ in headers)  # pages set their own
            added = SECURITY_HEADERS + [(POLICY_NAME, POLICY)] * (not has_policy)
            return start_response(status, headers + added, *exc_info)

        return application(environ, start)

    return answer
