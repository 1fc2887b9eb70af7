"""The id and the timings of one request: for its log line, its headers and the metrics."""

import random
import re
import time
from collections.abc import Iterator, MutableMapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

from flaskapp import trace_context

Value = TypeVar("Value")

KEY = "flaskapp.timings"  # in the WSGI environment
REQUEST_ID = re.compile(r"[A-Za-z0-9._~:/+=-]{1,128}")  # what a client's request id may be


@dataclass(slots=True)
class Timings:
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

    @contextmanager
    def entering(self, part: str, context: AbstractContextManager[Value]) -> Iterator[Value]:
        """Enter a context for the block, and note how long the entering takes."""
        with ExitStack() as stack:
            with self.timing(part):
                value = stack.enter_context(context)
            yield value


def begin(environ: MutableMapping[str, Any]) -> Timings:
    """Put timings into the environment of a WSGI request, with the id that it came with if that is a valid one.

    The thread continues the distributed trace that the request belongs to.
    """
    trace_context.begin(trace_context.parse(environ.get("HTTP_TRACEPARENT")))
    given = environ.get("HTTP_X_REQUEST_ID")
    timings = Timings(given if given and REQUEST_ID.fullmatch(given) else new_id())
    environ[KEY] = timings
    return timings


def new_id() -> str:
    """As rare as a UUID, though it could be guessed; without a call of the system. Forked processes have others."""
    return f"{random.getrandbits(128):032x}"
