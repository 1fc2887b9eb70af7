"""One image of a request, in the queue and in the model, and the timings of its request."""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from flaskapp.captioner.generation import Caption, Generation
from flaskapp.timings import Timings


@dataclass(eq=False)
class WorkItem:
    """A preprocessed image, its generation, and a future for its captions."""

    pixels: Any
    generation: Generation
    future: Future[list[Caption]] = field(default_factory=Future)
    is_background: bool = False  # whether it has no deadline
    is_abandoned: bool = False  # whether its request has timed out, or its client has disconnected
    on_text: Callable[[str], object] | None = None  # called with the text so far in the model's thread: must not block
    submitted: float = field(default_factory=time.perf_counter)
    began: float | None = None
    batch_size: int = 1  # images in its batch

    @property
    def is_fast(self) -> bool:
        """Whether the fast decoder runs it, not `generate`."""
        return self.generation.fallback is None

    def begin(self) -> None:
        self.began = time.perf_counter()


def record_timings(timings: Timings, items: Sequence[WorkItem]) -> None:
    """Record a request's seconds in the queue, until its first image begins, and then in the model."""
    now = time.perf_counter()
    began = min((item.began for item in items if item.began is not None), default=now)
    timings.seconds |= {"queue": began - items[-1].submitted, "model": now - began}
    timings.batch_size = max((item.batch_size for item in items if item.began is not None), default=None)
