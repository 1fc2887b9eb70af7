"""Limits for request bodies: time-outs, memory, and errors for truncated or malformed bodies.

gunicorn waits for a body without a time-out, treats a truncated body as complete, and raises its own error for a
malformed chunk.
"""

import io
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from gunicorn.http.errors import ParseException
from werkzeug.exceptions import BadRequest, ClientDisconnected, HTTPException, RequestTimeout
from werkzeug.wsgi import ClosingIterator

from flaskapp.errors import TooBusy
from flaskapp.threads import within, yield_control

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

IDLE_TIMEOUT = 9.0  # seconds without progress in a read or write; the connection is closed within ten
SMALL_BODY = 2**17  # bytes: bodies up to this size are not limited by memory
RETRY_AFTER = 5  # seconds
LINGER = 5.0  # seconds in which the rest of an unread body is discarded
WRITE_SIZE = 2**16  # bytes that a client must receive within IDLE_TIMEOUT
READ_SIZE = 2**14  # bytes that a client must send within IDLE_TIMEOUT: gunicorn's read blocks until it has them all


class Bodies:
    """WSGI middleware. Does nothing under servers that do not put `gunicorn.socket` into the environment."""

    def __init__(self, app: "WSGIApplication", max_bytes: int) -> None:
        """Limit the bodies in this process that are longer than SMALL_BODY to `max_bytes` together."""
        self._app = app
        self._memory = MemoryBudget(max_bytes)

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        sock = environ.get("gunicorn.socket")
        if sock is None:
            return self._app(environ, start_response)
        sock.settimeout(IDLE_TIMEOUT)  # of each read and write; gunicorn sets none
        body: Body | None = None
        if "CONTENT_LENGTH" in environ or "HTTP_TRANSFER_ENCODING" in environ:
            body = environ["wsgi.input"] = Body(environ, self._memory)
        try:
            answer = self._app(environ, start_response)
        except BaseException:
            if body is not None:
                body.close()
            raise
        closing = [answer.close] if hasattr(answer, "close") else []
        return ClosingIterator(_in_pieces(answer), [*closing, body.close] if body is not None else closing)


def _in_pieces(answer: Iterable[bytes]) -> Iterator[bytes]:
    """Split an answer into pieces of WRITE_SIZE, because a socket's time-out is for a whole `sendall`."""
    for part in answer:
        for start in range(0, len(part), WRITE_SIZE):
            yield part[start : start + WRITE_SIZE] if len(part) > WRITE_SIZE else part


class MemoryBudget:
    """A number of bytes that requests reserve and release."""

    def __init__(self, size: int) -> None:
        self._left = size
        self._lock = threading.Lock()

    def reserve(self, size: int) -> bool:
        """Reserve `size` bytes. Returns False, and reserves nothing, if fewer are left."""
        with self._lock:
            if size > self._left:
                return False
            self._left -= size
            return True

    def release(self, size: int) -> None:
        with self._lock:
            self._left += size


class Body(io.RawIOBase):
    """The stream `wsgi.input` within limits. `close` it when the request is answered."""

    def __init__(self, environ: "WSGIEnvironment", memory: MemoryBudget) -> None:
        self._stream, self._memory = environ["wsgi.input"], memory
        length = environ.get("CONTENT_LENGTH")
        self._left = int(length) if length else None  # bytes; unknown for chunked bodies
        self._is_finished = self._left == 0
        self._size = self._reserved = 0  # bytes

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        """Read as io.RawIOBase does. Raises TooBusy, RequestTimeout, ClientDisconnected or BadRequest."""
        data = b"" if self._is_finished else self._read(len(buffer))
        self._reserve_memory()
        buffer[: len(data)] = data
        return len(data)

    def _read(self, size: int) -> bytes:
        size = min(size, READ_SIZE)
        try:
            with within(IDLE_TIMEOUT):
                data: bytes = self._stream.read(size)
        except (OSError, ParseException) as error:
            self._is_finished = True
            raise _http_error(error) from None
        self._size += len(data)
        self._is_finished = len(data) < size
        if self._left is not None:
            self._left -= len(data)
            if self._is_finished and self._left > 0:
                raise ClientDisconnected
            self._is_finished = self._left == 0
        yield_control()  # reading buffered data never yields to other requests
        return data

    def _reserve_memory(self) -> None:
        if self._size <= SMALL_BODY:
            return
        if not self._memory.reserve(self._size - self._reserved):
            raise TooBusy("too many large bodies at once", retry_after=RETRY_AFTER)
        self._reserved = self._size

    def close(self) -> None:
        """Release the memory. Discard what was not read: otherwise the client sees a reset in place of the answer."""
        self._memory.release(self._reserved)
        self._reserved = 0
        with suppress(HTTPException, TimeoutError), within(LINGER):
            until = time.monotonic() + LINGER
            while not self._is_finished and time.monotonic() < until:
                self._read(READ_SIZE)
        if not self._is_finished:
            self._stream.failed = True  # makes gunicorn close the connection
        super().close()


def _http_error(error: Exception) -> HTTPException:
    if isinstance(error, TimeoutError):
        return RequestTimeout("the body did not come in time")
    return (
        BadRequest("the chunks of the body are broken") if isinstance(error, ParseException) else ClientDisconnected()
    )
