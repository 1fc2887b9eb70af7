"""Whether the client of a WSGI request is still there: nobody needs to go on with an answer that nobody reads."""

import select
from collections.abc import Callable, Mapping
from typing import Any


def watch(environ: Mapping[str, Any]) -> Callable[[], bool]:
    """A function that says whether the client has closed its side of the connection.

    Asks the socket that gunicorn puts into the environment; under another server it says no.
    """
    sock = environ.get("gunicorn.socket")
    if sock is None:
        return lambda: False
    poll = select.poll()
    poll.register(sock, select.POLLRDHUP)
    return lambda: bool(poll.poll(0))
