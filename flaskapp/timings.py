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
REQUEST_ID = re.compile(r"[A-Za-z0-9._~:/+=-]{1,128}")  # valid ids of clients


@dataclass(slots=True)
class Timings:
    id: str = ""
    began: float = field(default_factory=time.perf_counter)
    seconds: dict[str, float] = field(default_factory=dict)  # durations of its parts
    batch_size: int | None = None  # images in its batch, including those of other requests

    @contextmanager
    def timing(self, part: str) -> Iterator[None]:
        """Record how long the block takes, even if it fails."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[part] = time.perf_counter() - began

    @contextmanager
    def entering(self, part: str, context: AbstractContextManager[Value]) -> Iterator[Value]:
        """Run the block in a context, and record how long entering the context takes."""
        with ExitStack() as stack:
            with self.timing(part):
                value = stack.enter_context(context)
            yield value


def begin(environ: MutableMapping[str, Any]) -> Timings:
    """Start the timings of a WSGI request, and keep them in `environ`. The request id is the client's if it is valid.

    The thread continues the distributed trace of the request.
    """
    trace_context.begin(trace_context.parse(environ.get("HTTP_TRACEPARENT")))
    given = environ.get("HTTP_X_REQUEST_ID")
    timings = Timings(given if given and REQUEST_ID.fullmatch(given) else new_id())
    environ[KEY] = timings
    return timings


def new_id() -> str:
    """Return a random id of 128 bits, without a system call. It is not secret. Forked processes have different ids."""
    return f"{random.getrandbits(128):032x}"
