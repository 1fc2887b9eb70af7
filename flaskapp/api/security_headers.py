"""What every answer tells a browser not to do with it."""

from collections.abc import Callable, Iterable
from typing import Any

from flask import Flask

HEADERS = [
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
]
NAME, POLICY = "Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'"

Headers = list[tuple[str, str]]


def init_app(app: Flask) -> None:
    app.wsgi_app = adding(app.wsgi_app)  # type: ignore[method-assign]


def adding(application: Callable[..., Iterable[bytes]]) -> Callable[..., Iterable[bytes]]:
    """A WSGI application that adds them to what another answers."""

    def answer(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        def start(status: str, headers: Headers, *exc_info: Any) -> Any:
            has_policy = any(name == NAME for name, _ in headers)  # pages have their own; other answers are no pages
            return start_response(status, headers + HEADERS + [(NAME, POLICY)] * (not has_policy), *exc_info)

        return application(environ, start)

    return answer
