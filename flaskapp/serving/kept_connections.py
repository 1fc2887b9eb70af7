"""Keep-alive connections: the wait for the next request."""

import ssl
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import gevent
from gevent.socket import wait_read
from gunicorn.http.errors import ParseException

HEAD_TIMEOUT = 5.0  # seconds in which a client must send the whole head of a request
POLL_INTERVAL = 1.0  # seconds between checks whether this process stops
READ_AT_ONCE = 2**16  # bytes
LINGER = 2.0  # seconds after the stop signal in which idle connections may still send a request


class KeptConnections:
    """The keep-alive connections of a web worker, which accepts up to `max_connections`."""

    def __init__(self, max_connections: int, is_stopping: Callable[[], bool]) -> None:
        self._max_connections, self._is_stopping = max_connections, is_stopping
        self._idle = 0

    def wait(self, request: Any, sock: Any, seconds: float) -> bool:
        """Wait up to `seconds` for the next request of a connection. Returns whether it came in time.

        First reads the rest of the last request's body, for HEAD_TIMEOUT at most. While more than half of the possible
        connections are idle, each waits for HEAD_TIMEOUT at most.
        """
        if not _drain(request.body):
            return False
        read_ahead = request.unreader.take_buffered()
        request.unreader.unread(read_ahead)
        if read_ahead or (isinstance(sock, ssl.SSLSocket) and sock.pending()):
            return True
        self._idle += 1
        try:
            return self._wait(sock, min(seconds, HEAD_TIMEOUT) if self._idle > self._max_connections // 2 else seconds)
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
    """Read the rest of a request's body. Returns whether it is complete, so that another request may follow."""
    with suppress(ParseException, OSError), gevent.Timeout(HEAD_TIMEOUT, False):  # type: ignore[arg-type] # False: raise nothing
        while body.read(READ_AT_ONCE):
            pass
        return not body.failed  # set by Bodies: gunicorn reads no more of it
    return False


def _is_readable(sock: Any, seconds: float) -> bool:
    """Wait up to `seconds` for data. Works for descriptors beyond 1023, unlike `select`."""
    try:
        wait_read(sock.fileno(), timeout=seconds, timeout_exc=TimeoutError())
    except TimeoutError:
        return False
    return True
