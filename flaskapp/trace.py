"""What is noted of one request while it is answered: for its log line, its headers and the metrics."""

import random
import re
import time
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from flaskapp import trace_context

KEY = "flaskapp.trace"  # in the WSGI environment
SANE = re.compile(r"[A-Za-z0-9._~:/+=-]{1,128}")  # what a client's request id may be


@dataclass(slots=True)
class Trace:
    id: str = ""
    began: float = field(default_factory=time.perf_counter)
    seconds: dict[str, float] = field(default_factory=dict)  # that its parts took
    batch_size: int | None = None  # images that went through the model together, this request's and others'

    @contextmanager
    def timing(self, part: str) -> Iterator[None]:
        """Note how long the block takes, whatever comes of it."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[part] = time.perf_counter() - began


def begin(environ: MutableMapping[str, Any]) -> Trace:
    """Put a trace into the environment of a WSGI request, under the id that it came with if that is a sane one.

    The thread continues the distributed trace that the request belongs to.
    """
    trace_context.begin(trace_context.parse(environ.get("HTTP_TRACEPARENT")))
    given = environ.get("HTTP_X_REQUEST_ID")
    trace = Trace(given if given and SANE.fullmatch(given) else new_id())
    environ[KEY] = trace
    return trace


def new_id() -> str:
    """As rare as a UUID, though it could be guessed; without a call of the system. Forked processes have others."""
    return f"{random.getrandbits(128):032x}"
