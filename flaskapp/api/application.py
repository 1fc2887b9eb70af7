"""Flask's application and request classes, without unused features that cost time."""

import io
from collections.abc import Callable
from typing import IO, Any, cast

import flask
from flask.sessions import NullSession, SessionInterface, SessionMixin
from werkzeug.exceptions import NotFound
from werkzeug.routing import MapAdapter

from flaskapp import timings
from flaskapp.api.forms import FormParser


class NoSessions(SessionInterface):
    """No sessions: this server sets no cookies."""

    _session = NullSession()

    def open_session(self, app: flask.Flask, request: flask.Request) -> SessionMixin:
        return self._session


class Request(flask.Request):
    """A request with timings. Its uploaded files stay in memory, as its body does: a full disk fails no upload."""

    form_data_parser_class = FormParser

    def __init__(self, environ: dict[str, Any], populate_request: bool = True, shallow: bool = False) -> None:
        super().__init__(environ, populate_request, shallow)
        self.timings = timings.begin(environ)

    def _get_file_stream(
        self,
        total_content_length: int | None,
        content_type: str | None,
        filename: str | None = None,
        content_length: int | None = None,
    ) -> IO[bytes]:
        return io.BytesIO()


class Application(flask.Flask):
    request_class = Request
    session_interface = NoSessions()

    def create_url_adapter(self, request: flask.Request | None) -> MapAdapter | None:
        """Match each path as if it ended in a slash.

        Otherwise Werkzeug matches `/caption` to the rule of `/caption/` but does not find its methods, and answers 404
        in place of 405 (`StateMachineMatcher.match` in Werkzeug 3.1.9).
        """
        adapter = super().create_url_adapter(request)
        if adapter is not None and not adapter.path_info.endswith("/"):
            adapter.path_info += "/"
        return adapter

    def ensure_sync(self, func: Callable[..., Any]) -> Callable[..., Any]:
        """Return the view itself: none is a coroutine, so Flask need not inspect each one at each call."""
        return func


def current_request() -> Request:
    """Return the request itself: each attribute of Flask's proxy would cost another lookup.

    Werkzeug documents `_get_current_object` as the way to the object behind a proxy. No public name exists.
    """
    return cast(Request, flask.request._get_current_object())  # type: ignore[attr-defined]


def reject_ambiguous_paths() -> None:
    """Answer 404 to paths that Werkzeug and a proxy understand differently, so that no proxy's rule is bypassed.

    Werkzeug takes `//metrics` for `/metrics`. Under the prefix `/captions`, gunicorn shortens `/captionsmetrics` to
    `metrics`.
    """
    path = flask.request.environ["PATH_INFO"]
    if "//" in path or (path and path[0] != "/"):
        raise NotFound
