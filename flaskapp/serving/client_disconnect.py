"""Detects that the client of a WSGI request has disconnected."""

import math
import os
import select
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

LEFT = select.POLLERR | select.POLLHUP
SENDS_NO_MORE = getattr(select, "POLLRDHUP", 0)  # Linux only
PATIENCE = 1.0  # seconds
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


def watch(environ: Mapping[str, Any], *, is_answered: bool = False) -> Callable[[], bool]:
    """A function that says whether the client has left. Any thread may call it.

    A client that only closes its sending half, as `nc -N` does, waits for its answer. The system tells no difference
    between that and a connection that is closed, until something is sent: a closed one is reset then. What may be sent
    before an answer, however often, is 100 Continue (RFC 9110, section 15.2), but not all clients expect it: it is sent
    to those that closed their half a while ago. HTTP/1.0 does not know it: such a client has left then, as for nginx.
    So has every client once its answer has begun (`is_answered`): 100 Continue would be a part of that answer.

    Asks the socket that gunicorn puts into the environment; under another server it says no.
    """
    sock = environ.get("gunicorn.socket")
    if sock is None:
        return lambda: False
    knows_continue = environ["SERVER_PROTOCOL"] == "HTTP/1.1" and not is_answered
    return Watch(sock.fileno(), knows_continue=knows_continue).has_left


class Watch:
    def __init__(self, descriptor: int, *, knows_continue: bool) -> None:
        self._descriptor, self._knows_continue = descriptor, knows_continue
        self._poll = _poll()
        self._poll.register(descriptor, SENDS_NO_MORE)
        self._asks_at: float | None = None  # on the monotonic clock; once it was seen to send no more

    def has_left(self) -> bool:
        events = self._poll.poll(0)
        if not events:
            return False
        if events[0][1] & LEFT:
            return True
        if self._asks_at is None:
            self._asks_at = time.monotonic() + PATIENCE
        elif time.monotonic() >= self._asks_at:
            if not self._knows_continue:
                return True
            self._asks_at = math.inf
            with suppress(OSError):
                os.write(self._descriptor, CONTINUE)
        return False


def _poll() -> Any:
    """gevent's own knows no POLLRDHUP, and gives way to other greenlets, which an answer at once need not."""
    if "gevent.monkey" in sys.modules:
        from gevent.monkey import get_original

        return get_original("select", "poll")()
    return select.poll()
