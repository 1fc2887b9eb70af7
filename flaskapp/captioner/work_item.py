"""One image of a request in the queue and in the model, and the timings of its request."""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from flaskapp.captioner.generation import Caption, Generation
from flaskapp.timings import Timings


@dataclass(eq=False)
class WorkItem:
    """Abandoned when its request times out or its client disconnects."""

    pixels: Any
    generation: Generation
    future: Future[list[Caption]] = field(default_factory=Future)
    is_patient: bool = False  # whether it has no deadline
    is_abandoned: bool = False
    on_text: Callable[[str], object] | None = None  # given the text so far, in the model's thread: it must not wait
    submitted: float = field(default_factory=time.perf_counter)
    began: float | None = None
    batch_size: int = 1  # images that went through the model together, this one and others

    def begin(self) -> None:
        self.began = time.perf_counter()


def note(timings: Timings, items: Sequence[WorkItem]) -> None:
    """Where a request's time went: in the queue until its first image began, and from then on in the model."""
    now = time.perf_counter()
    began = min((item.began for item in items if item.began is not None), default=now)
    timings.seconds |= {"queue": began - items[-1].submitted, "model": now - began}
    timings.batch_size = max((item.batch_size for item in items if item.began is not None), default=None)
