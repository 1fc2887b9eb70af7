"""Whether the client of a WSGI request is still connected: otherwise its answer need not be finished."""

import select
from collections.abc import Callable, Mapping
from typing import Any

LEFT = select.POLLERR | select.POLLHUP


def watch(environ: Mapping[str, Any]) -> Callable[[], bool]:
    """A function that says whether the client has left.

    A client that only closes its sending half, as `nc -N` does, waits for its answer. Linux tells no difference between
    that and a connection that is closed, until something is sent: a closed one is reset then. So the first bytes of the
    answer, which are the same for all, are sent early.

    Asks the socket that gunicorn puts into the environment; under another server it says no.
    """
    sock = environ.get("gunicorn.socket")
    if sock is None:
        return lambda: False
    poll = select.poll()
    poll.register(sock, select.POLLRDHUP)

    def has_left() -> bool:
        events = poll.poll(0)
        if events and not events[0][1] & LEFT:
            sock.begin()
        return bool(events) and bool(events[0][1] & LEFT)

    return has_left
