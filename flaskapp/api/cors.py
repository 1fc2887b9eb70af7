"""Cross-Origin Resource Sharing for the origins of CORS_ORIGINS (Fetch Standard, "CORS protocol").

A WSGI middleware adds the headers to errors as well: without them a browser hides an error from the page. A page may
set `Authorization` itself. Cookies and the browser's own logins (credentials) are never allowed.
"""

import re
from collections.abc import Callable, Collection, Iterable
from typing import Any

from flask import Flask

ANY_ORIGIN = "*"
METHODS = "GET, HEAD, POST, DELETE, OPTIONS"
EXPOSED = (
    "Content-Disposition, Link, Location, Retry-After, Server-Timing, WWW-Authenticate, X-RateLimit-Limit, "
    "X-RateLimit-Remaining, X-RateLimit-Reset, X-Request-ID, X-Upload-Height, X-Upload-Width"
)
MAX_AGE = 3600  # seconds that a browser may cache a preflight
HEADER_NAMES = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~, -]+")

Headers = list[tuple[str, str]]
Application = Callable[..., Iterable[bytes]]


def init_app(app: Flask) -> None:
    if app.config["CORS_ORIGINS"]:
        app.wsgi_app = _with_cors(app.wsgi_app, app.config["CORS_ORIGINS"])  # type: ignore[method-assign]


def _with_cors(application: Application, origins: Collection[str]) -> Application:
    """Return a WSGI application that answers preflights, and adds CORS headers to the responses of another."""

    def answer(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        headers = _headers(environ.get("HTTP_ORIGIN"), origins)
        is_allowed = any(name == "Access-Control-Allow-Origin" for name, _ in headers)
        if is_allowed and _is_preflight(environ):
            start_response("204 No Content", headers + _preflight(environ))
            return []

        def start(status: str, own: Headers, *exc_info: Any) -> Any:
            exposed = [("Access-Control-Expose-Headers", EXPOSED)] * is_allowed
            return start_response(status, own + headers + exposed, *exc_info)

        return application(environ, start)

    return answer


def _headers(origin: str | None, origins: Collection[str]) -> Headers:
    if ANY_ORIGIN in origins:
        return [("Access-Control-Allow-Origin", ANY_ORIGIN)]
    if origin is None or origin not in origins:
        return [("Vary", "Origin")]
    return [("Access-Control-Allow-Origin", origin), ("Vary", "Origin")]


def _is_preflight(environ: dict[str, Any]) -> bool:
    return (
        environ["REQUEST_METHOD"] == "OPTIONS"
        and "HTTP_ORIGIN" in environ
        and "HTTP_ACCESS_CONTROL_REQUEST_METHOD" in environ
    )


def _preflight(environ: dict[str, Any]) -> Headers:
    """Allow each requested header: clients send headers of their own, such as OpenAI's `x-stainless-os`."""
    requested = environ.get("HTTP_ACCESS_CONTROL_REQUEST_HEADERS", "")
    allowed = [("Access-Control-Allow-Headers", requested)] if HEADER_NAMES.fullmatch(requested) else []
    return [
        ("Access-Control-Allow-Methods", METHODS),
        *allowed,
        ("Access-Control-Max-Age", str(MAX_AGE)),
        ("Vary", "Access-Control-Request-Headers"),
    ]
