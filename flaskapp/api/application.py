"""The class of the application: Flask, without what every request would pay for here in vain."""

from collections.abc import Callable
from typing import Any

import flask
from flask.sessions import NullSession, SessionInterface, SessionMixin

from flaskapp.api.request import Request


class NoSessions(SessionInterface):
    """There are no cookies, and so nothing to look for in a request, or to save."""

    _session = NullSession()

    def open_session(self, app: flask.Flask, request: flask.Request) -> SessionMixin:
        return self._session


class Application(flask.Flask):
    request_class = Request
    session_interface = NoSessions()

    def ensure_sync(self, func: Callable[..., Any]) -> Callable[..., Any]:
        """No view is a coroutine: Flask and flask-smorest need not look at each of its decorators, at each call."""
        return func
