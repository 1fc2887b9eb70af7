"""URLs of this server under a prefix, as with nginx's `location /captions/ { proxy_pass http://web/; }`.

The prefix is known from gunicorn's SCRIPT_NAME, or from a trusted proxy's X-Forwarded-Prefix. If a proxy strips it
without a header, relative URLs still work.
"""

import re
from collections.abc import Callable, Iterable
from typing import Any

from flask import Flask, request, url_for
from werkzeug.middleware.proxy_fix import ProxyFix

HEADER = "HTTP_X_FORWARDED_PREFIX"
# A path on this host. A proxy may pass on a header that the client sent, such as `//other.example`.
PREFIX = re.compile(r"(/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)+")

Application = Callable[..., Iterable[bytes]]


def init_app(app: Flask) -> None:
    if app.config["TRUSTED_PROXIES"]:
        fixed = ProxyFix(app.wsgi_app, x_for=0, x_proto=0, x_prefix=1)  # the header of the last proxy
        app.wsgi_app = _checked(fixed)  # type: ignore[method-assign]
    app.jinja_env.globals["url_for"] = relative_url_for  # pages work if only the browser knows the prefix


def _checked(application: Application) -> Application:
    """Replace a header that is no valid prefix with an empty one. Keep the last of several, without a final slash."""

    def answer(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if HEADER in environ:
            prefix = environ[HEADER].rpartition(",")[2].strip().rstrip("/")
            environ[HEADER] = prefix if PREFIX.fullmatch(prefix) else ""
        return application(environ, start_response)

    return answer


def relative_url_for(endpoint: str, **values: Any) -> str:
    """Return Flask's `url_for` relative to the URL of the request: `demo/static/page.js` at `/demo`."""
    path = url_for(endpoint, **values).removeprefix(request.script_root)
    return "../" * (request.path.count("/") - 1) + path.removeprefix("/") or "."


def root() -> str:
    """Return the URL of `/`: absolute if the prefix is known, else relative to the URL of the request."""
    return request.script_root or "./" + "../" * (request.path.count("/") - 1)
