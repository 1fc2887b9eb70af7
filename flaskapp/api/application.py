"""Flask's application and request classes, without unused features that cost time."""

import io
from collections.abc import Callable
from typing import IO, Any, cast

import flask
from flask.sessions import NullSession, SessionInterface, SessionMixin
from werkzeug.exceptions import NotFound, RequestEntityTooLarge
from werkzeug.routing import MapAdapter
from werkzeug.utils import cached_property
from werkzeug.wsgi import LimitedStream

from flaskapp import timings
from flaskapp.api.forms import FormParser


class NoSessions(SessionInterface):
    """No sessions: this server sets no cookies."""

    _session = NullSession()

    def open_session(self, app: flask.Flask, request: flask.Request) -> SessionMixin:
        return self._session


class BodyStream(LimitedStream):
    """A body of at most `limit` bytes. Raises RequestEntityTooLarge for a longer one.

    `LimitedStream.readall` of Werkzeug 3.1.9 returns the first `limit` bytes of a longer body as if they were all, and
    `read` refuses a body of exactly `limit` bytes.
    """

    def __init__(self, stream: IO[bytes], limit: int) -> None:
        super().__init__(stream, limit, is_max=True)
        self._unlimited = stream

    def readall(self) -> bytes:
        body = super().readall()
        if self.is_exhausted:
            self.on_exhausted()
        return body

    def on_exhausted(self) -> None:
        """Check that nothing follows. gunicorn waits for a kibibyte, or for the end of the body."""
        try:
            rest = self._unlimited.read(1)
        except (OSError, ValueError) as error:
            self.on_disconnect(error)
        else:
            if rest:
                raise RequestEntityTooLarge


class Request(flask.Request):
    """A request with timings. Its uploaded files stay in memory, as its body does: a full disk fails no upload."""

    form_data_parser_class = FormParser

    def __init__(self, environ: dict[str, Any], populate_request: bool = True, shallow: bool = False) -> None:
        super().__init__(environ, populate_request, shallow)
        self.timings = timings.begin(environ)

    @cached_property
    def stream(self) -> IO[bytes]:
        """The body. Raises RequestEntityTooLarge, also while it is read, if it is longer than MAX_CONTENT_LENGTH."""
        stream = super().stream  # checks Content-Length
        if self.max_content_length is None or "wsgi.input_terminated" not in self.environ:
            return stream
        return cast(IO[bytes], BodyStream(self.environ["wsgi.input"], self.max_content_length))

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
