"""Addresses of this server under a prefix, such as that of nginx's `location /captions/ { proxy_pass http://web/; }`.

The prefix is known if gunicorn has it in SCRIPT_NAME, or a trusted proxy sends it in X-Forwarded-Prefix. If a proxy
strips it without a header, relative addresses are right nonetheless.
"""

import re
from collections.abc import Callable, Iterable
from typing import Any

from flask import Flask, request, url_for
from werkzeug.middleware.proxy_fix import ProxyFix

HEADER = "HTTP_X_FORWARDED_PREFIX"
# Of several proxies, or of one that passes on what a client sent: never the address of another host.
PREFIX = re.compile(r"(/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)+")

Application = Callable[..., Iterable[bytes]]


def init_app(app: Flask) -> None:
    if app.config["TRUSTED_PROXIES"]:
        fixed = ProxyFix(app.wsgi_app, x_for=0, x_proto=0, x_prefix=1)  # of the proxy that is next to the server
        app.wsgi_app = _checked(fixed)  # type: ignore[method-assign]
    app.jinja_env.globals["url_for"] = relative_url_for  # pages work under a prefix that only the browser knows


def _checked(application: Application) -> Application:
    """Remove a header that is no prefix, and the slash that may end one."""

    def answer(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if HEADER in environ:
            prefix = environ[HEADER].rpartition(",")[2].strip().rstrip("/")
            environ[HEADER] = prefix if PREFIX.fullmatch(prefix) else ""
        return application(environ, start_response)

    return answer


def relative_url_for(endpoint: str, **values: Any) -> str:
    """As Flask's `url_for`, relative to the address of the request: `demo/static/page.js` at `/demo`."""
    path = url_for(endpoint, **values).removeprefix(request.script_root)
    return "../" * (request.path.count("/") - 1) + path.removeprefix("/") or "."


def root() -> str:
    """The address of `/`: absolute if the prefix is known, else relative to that of the request."""
    return request.script_root or "./" + "../" * (request.path.count("/") - 1)
