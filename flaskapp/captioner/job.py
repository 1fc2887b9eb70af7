"""One image of a request on its way through the model, and what its request is told of the way."""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from flaskapp.captioner.generation import Caption, Generation
from flaskapp.trace import Trace


@dataclass(eq=False)
class Job:
    """It is abandoned when its request is given up."""

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


def note(trace: Trace, jobs: Sequence[Job]) -> None:
    """Where a request's time went: in the queue until its first image began, and from then on in the model."""
    now = time.perf_counter()
    began = min((job.began for job in jobs if job.began is not None), default=now)
    trace.seconds |= {"queue": began - jobs[-1].submitted, "model": now - began}
    trace.batch_size = max((job.batch_size for job in jobs if job.began is not None), default=None)
