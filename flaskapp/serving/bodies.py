"""Request bodies: how long their sender may be silent, how much of them lies in memory, and when they are broken.

gunicorn's workers wait without a limit for a body, hand over one that is cut short as if it were whole, and leave it to
the application to make an answer of a chunk that is none.
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

SILENCE = 9.0  # seconds in which a client must send or take something: it is over by the tenth
SMALL = 2**17  # bytes: a body of no more than this always has room
RETRY_AFTER = 5  # seconds
LINGER = 5.0  # seconds in which a client may send bytes that are dropped
AT_ONCE = 2**16  # bytes that a client must take within SILENCE
STEP = 2**14  # bytes that it must send within SILENCE: gunicorn waits until there are as many as it was asked for


class Bodies:
    """WSGI middleware. It does nothing under servers that do not put `gunicorn.socket` into the environment."""

    def __init__(self, app: "WSGIApplication", most: int) -> None:
        """Bodies that are longer than SMALL have `most` bytes of memory together, in this process."""
        self._app = app
        self._room = Room(most)

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        sock = environ.get("gunicorn.socket")
        if sock is None:
            return self._app(environ, start_response)
        sock.settimeout(SILENCE)  # for each part that is received, and each piece that is sent; gunicorn has none
        body: Body | None = None
        if "CONTENT_LENGTH" in environ or "HTTP_TRANSFER_ENCODING" in environ:
            body = environ["wsgi.input"] = Body(environ, self._room)
        try:
            answer = self._app(environ, start_response)
        except BaseException:
            if body is not None:
                body.close()
            raise
        closing = [answer.close] if hasattr(answer, "close") else []
        return ClosingIterator(_in_pieces(answer), [*closing, body.close] if body is not None else closing)


def _in_pieces(answer: Iterable[bytes]) -> Iterator[bytes]:
    """The time-out of a socket is that of a whole `sendall`."""
    for part in answer:
        for start in range(0, len(part), AT_ONCE):
            yield part[start : start + AT_ONCE] if len(part) > AT_ONCE else part


class Room:
    """Bytes that may be taken."""

    def __init__(self, most: int) -> None:
        self._left = most
        self._lock = threading.Lock()

    def take(self, size: int) -> bool:
        """Whether there was room for so many."""
        with self._lock:
            if size > self._left:
                return False
            self._left -= size
            return True

    def give_back(self, size: int) -> None:
        with self._lock:
            self._left += size


class Body(io.RawIOBase):
    """What `wsgi.input` gives, or TooBusy, or an error of the client's. `close` it when the request is answered."""

    def __init__(self, environ: "WSGIEnvironment", room: Room) -> None:
        self._stream, self._room = environ["wsgi.input"], room
        length = environ.get("CONTENT_LENGTH")
        self._missing = int(length) if length else None  # bytes; not known of chunks
        self._is_over = self._missing == 0
        self._size = self._taken = 0  # bytes

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        """As of io.RawIOBase. Raises TooBusy, RequestTimeout, ClientDisconnected, BadRequest."""
        data = b"" if self._is_over else self._read(len(buffer))
        self._find_room()
        buffer[: len(data)] = data
        return len(data)

    def _read(self, size: int) -> bytes:
        size = min(size, STEP)
        try:
            with within(SILENCE):
                data: bytes = self._stream.read(size)
        except (OSError, ParseException) as error:
            self._is_over = True
            raise _refusal(error) from None
        self._size += len(data)
        self._is_over = len(data) < size
        if self._missing is not None:
            self._missing -= len(data)
            if self._is_over and self._missing > 0:
                raise ClientDisconnected
            self._is_over = self._missing == 0
        yield_control()  # while there is more, gunicorn reads and parses on and on
        return data

    def _find_room(self) -> None:
        if self._size <= SMALL:
            return
        if not self._room.take(self._size - self._taken):
            raise TooBusy("too many large bodies at once", retry_after=RETRY_AFTER)
        self._taken = self._size

    def close(self) -> None:
        """Release its memory. What was not read is thrown away, or the client would see a reset and no answer."""
        self._room.give_back(self._taken)
        self._taken = 0
        with suppress(HTTPException, TimeoutError), within(LINGER):
            until = time.monotonic() + LINGER
            while not self._is_over and time.monotonic() < until:
                self._read(STEP)
        if not self._is_over:
            self._stream.failed = True  # of gunicorn's Body: the connection cannot be used again, and is closed
        super().close()


def _refusal(error: Exception) -> HTTPException:
    if isinstance(error, TimeoutError):
        return RequestTimeout("the body did not come in time")
    return (
        BadRequest("the chunks of the body are broken") if isinstance(error, ParseException) else ClientDisconnected()
    )
