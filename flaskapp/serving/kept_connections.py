"""Connections between two requests: the wait for the next one."""

import ssl
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import gevent
from gevent.socket import wait_read
from gunicorn.http.errors import ParseException

HEAD = 5.0  # seconds in which the head of a request must have come
POLL_INTERVAL = 1.0  # seconds between two checks whether this process stops
READ_AT_ONCE = 2**16  # bytes
LINGER = 2.0  # seconds after a stop in which idle connections may still send a request


class KeptConnections:
    """The idle connections of a web worker that has `room` for connections."""

    def __init__(self, room: int, is_stopping: Callable[[], bool]) -> None:
        self._room, self._is_stopping = room, is_stopping
        self._idle = 0

    def wait(self, request: Any, sock: Any, seconds: float) -> bool:
        """Wait after a gunicorn request for the next one of its connection. Returns whether it came in time.

        Where more than half of the room is idle, that is no longer than HEAD, and so is the wait for the rest of a body
        that the application has not read.
        """
        if not _drain(request.body):
            return False
        read_ahead = request.unreader.take_buffered()
        request.unreader.unread(read_ahead)
        if read_ahead or (isinstance(sock, ssl.SSLSocket) and sock.pending()):
            return True
        self._idle += 1
        try:
            return self._wait(sock, min(seconds, HEAD) if self._idle > self._room // 2 else seconds)
        finally:
            self._idle -= 1

    def _wait(self, sock: Any, seconds: float) -> bool:
        until, stops = time.monotonic() + seconds, False
        while (left := until - time.monotonic()) > 0:
            if self._is_stopping() and not stops:
                until, stops = min(until, time.monotonic() + LINGER), True
                continue
            if _is_readable(sock, min(left, POLL_INTERVAL)):
                return True
        return False


def _drain(body: Any) -> bool:
    """Read the rest of a request's body. Returns whether its end came, so that another request may follow."""
    with suppress(ParseException, OSError), gevent.Timeout(HEAD, False):  # type: ignore[arg-type] # it is silent
        while body.read(READ_AT_ONCE):
            pass
        return not body.failed  # if it did, gunicorn reads no more of it
    return False


def _is_readable(sock: Any, seconds: float) -> bool:
    """Whether something comes within so many seconds. Works for descriptors beyond 1023, unlike `select`."""
    try:
        wait_read(sock.fileno(), timeout=seconds, timeout_exc=TimeoutError())
    except TimeoutError:
        return False
    return True
