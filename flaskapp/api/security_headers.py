"""What every answer tells a browser not to do with it."""

from flask import Flask, Response

HEADERS = (
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
)
POLICY = "default-src 'none'; frame-ancestors 'none'"  # an answer is no page; those that are have policies of their own


def init_app(app: Flask) -> None:
    app.after_request(add)


def add(response: Response) -> Response:
    response.headers.extend(HEADERS)
    response.headers.setdefault("Content-Security-Policy", POLICY)
    return response
