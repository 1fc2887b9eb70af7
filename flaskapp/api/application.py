"""The class of the application: Flask without the parts that cost time and are not used here."""

from collections.abc import Callable
from typing import Any

import flask
from flask.sessions import NullSession, SessionInterface, SessionMixin
from werkzeug.exceptions import NotFound
from werkzeug.routing import MapAdapter

from flaskapp.api.request import Request


class NoSessions(SessionInterface):
    """There are no cookies, and so nothing to look for in a request, or to save."""

    _session = NullSession()

    def open_session(self, app: flask.Flask, request: flask.Request) -> SessionMixin:
        return self._session


def refuse_other_spellings() -> None:
    """Answer 404 to `//metrics`, which Werkzeug takes for `/metrics`: a proxy's rule for that does not.

    Also to `/captionsmetrics` under the prefix `/captions`: gunicorn leaves `metrics` of it.
    """
    path = flask.request.environ["PATH_INFO"]
    if "//" in path or (path and path[0] != "/"):
        raise NotFound


class Application(flask.Flask):
    request_class = Request
    session_interface = NoSessions()

    def create_url_adapter(self, request: flask.Request | None) -> MapAdapter | None:
        """Match each path as if it ended in a slash.

        Without it Werkzeug's matcher finds the rule of `/caption/` for `/caption`, but not which methods it has: what
        should be a 405 is a 404 (`StateMachineMatcher.match` in Werkzeug 3.1.9).
        """
        adapter = super().create_url_adapter(request)
        if adapter is not None and not adapter.path_info.endswith("/"):
            adapter.path_info += "/"
        return adapter

    def ensure_sync(self, func: Callable[..., Any]) -> Callable[..., Any]:
        """No view is a coroutine: Flask and flask-smorest need not look at each of its decorators, at each call."""
        return func
