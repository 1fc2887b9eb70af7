"""The distributed trace of the current thread, from the header `traceparent`.

A client sends the header with a request. The jobs of the request keep it. Requests to other servers continue the trace,
with its trace id and a new parent id.

Reference: W3C Trace Context, https://www.w3.org/TR/trace-context/
"""

import random
import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

HEADER = "traceparent"
LENGTH = 55  # characters of a header of version 00
KNOWN_FLAGS = 0b11  # sampled, random trace id

# Version, trace id, parent id and flags. Later versions may add fields.
FORMAT = re.compile(r"(?!ff)([0-9a-f]{2})-((?!0{32})[0-9a-f]{32})-((?!0{16})[0-9a-f]{16})-([0-9a-f]{2})(-.*)?")

_current: ContextVar[str | None] = ContextVar(HEADER, default=None)


def parse(header: str | None) -> str | None:
    """Return the header in version 00, or None if it is missing or invalid, as the specification demands."""
    found = FORMAT.fullmatch(header or "")
    if found is None or (found[1] == "00" and found[5]):
        return None
    return f"00-{found[2]}-{found[3]}-{int(found[4], 16) & KNOWN_FLAGS:02x}"


def begin(traceparent: str | None) -> None:
    """Continue this trace until the thread begins another one. None ends the current trace."""
    _current.set(traceparent)


@contextmanager
def within(traceparent: str | None) -> Iterator[None]:
    """Continue this trace during the block."""
    token = _current.set(traceparent)
    try:
        yield
    finally:
        _current.reset(token)


def current() -> str | None:
    """Return the header of the current trace."""
    return _current.get()


def trace_id() -> str | None:
    traceparent = _current.get()
    return traceparent and traceparent[3:35]


def headers() -> dict[str, str]:
    """Return the headers for a request to another server."""
    traceparent = _current.get()
    if traceparent is None:
        return {}
    parent_id = random.getrandbits(64) or 1
    return {HEADER: f"{traceparent[:36]}{parent_id:016x}{traceparent[52:]}"}
