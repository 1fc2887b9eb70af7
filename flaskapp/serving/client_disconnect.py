"""Detects that the client of a WSGI request has disconnected."""

import math
import os
import select
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

CLOSED = select.POLLERR | select.POLLHUP
HALF_CLOSED = getattr(select, "POLLRDHUP", 0)  # Linux only
PROBE_DELAY = 1.0  # seconds between the half-close and the probe
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


def watch(environ: Mapping[str, Any], *, is_answered: bool = False) -> Callable[[], bool]:
    """Return a function that tells whether the client has disconnected. Any thread may call it.

    A client that closes only its sending half, as `nc -N` does, still waits for the answer. The system cannot tell a
    half-closed connection from a closed one until the server sends something, which resets a closed one. The probe is
    100 Continue, which may precede an answer any number of times (RFC 9110, section 15.2). Not all clients expect it,
    so only connections that have been half-closed for PROBE_DELAY get it. Two kinds of half-closed connections cannot
    be probed, and count as closed, as in nginx: those of HTTP/1.0, which has no 100 Continue, and those whose answer
    has begun (`is_answered`), because 100 Continue would become a part of it.

    Uses the socket that gunicorn puts into the environment. Under other servers, the function returns False.
    """
    sock = environ.get("gunicorn.socket")
    if sock is None:
        return lambda: False
    can_probe = environ["SERVER_PROTOCOL"] == "HTTP/1.1" and not is_answered
    return Watch(sock.fileno(), can_probe=can_probe).has_left


class Watch:
    def __init__(self, descriptor: int, *, can_probe: bool) -> None:
        self._descriptor, self._can_probe = descriptor, can_probe
        self._poll = _poll()
        self._poll.register(descriptor, HALF_CLOSED)
        self._probe_at: float | None = None  # on the monotonic clock; None until the connection is half-closed

    def has_left(self) -> bool:
        events = self._poll.poll(0)
        if not events:
            return False
        if events[0][1] & CLOSED:
            return True
        if self._probe_at is None:
            self._probe_at = time.monotonic() + PROBE_DELAY
        elif time.monotonic() >= self._probe_at:
            if not self._can_probe:
                return True
            self._probe_at = math.inf
            with suppress(OSError):
                os.write(self._descriptor, CONTINUE)
        return False


def _poll() -> Any:
    """Return the system's poll object. gevent's lacks POLLRDHUP, and switches greenlets even without a wait."""
    if "gevent.monkey" in sys.modules:
        from gevent.monkey import get_original

        return get_original("select", "poll")()
    return select.poll()
