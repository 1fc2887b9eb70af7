"""Admission control: bounds the queue, and rejects requests that would miss their deadline.

`Pace` estimates the wait from the batches that have run.
"""

import math
import time
from collections import deque
from collections.abc import Iterable, Sequence
from statistics import median

from flaskapp.captioner.generation import Generation
from flaskapp.errors import TooBusy

BUSY = "too many images are waiting for their captions"
MAX_WAIT_SHARE = 0.7  # largest estimated wait, as a share of the deadline: the rest is for errors of the estimate
ENCODER_WORK = 150  # work of encoding an image, in tokens of one beam (ViT-B and GPT-2: 20 of 37 GMAC)
MEASURED_BATCHES = 5  # latest batches that the estimate uses


def work_of(generations: Iterable[Generation]) -> int:
    """Return the work of one image for each generation, in tokens of one beam."""
    return sum(ENCODER_WORK + each.rows * each.max_length for each in generations)


class Pace:
    """Measures core-seconds per unit of work, one batch at a time. The first batch is a warm-up and does not count."""

    def __init__(self) -> None:
        self._measured: deque[float] = deque(maxlen=MEASURED_BATCHES)
        self._all = [self]  # one for each lane
        self._is_warm = False
        self._began: float | None = None
        self._work = 0

    def sibling(self) -> "Pace":
        """Return the pace of another lane. All lanes share their measurements."""
        other = Pace()
        other._measured, other._all = self._measured, self._all
        self._all.append(other)
        return other

    @property
    def is_known(self) -> bool:
        return bool(self._measured)

    def begin(self, work: int) -> None:
        """Start to measure a batch."""
        self._began, self._work = time.monotonic(), work

    def add(self, work: int) -> None:
        """Add the work of items that join the batch."""
        self._work += work

    def discard(self) -> None:
        """Do not measure the running batch: some of its work was dropped, or has no known size."""
        self._began = None

    def end(self, cores: int) -> None:
        """Record the batch, which ran on `cores`."""
        if self._began is None:
            return
        if self._is_warm:
            self._measured.append((time.monotonic() - self._began) * cores / self._work)
        self._is_warm = True
        self._began = None

    def estimate(self, work: int, cores: int) -> float:
        """Return the seconds until the first lane is free and has done `work` on `cores`. 0 if nothing was measured."""
        if not self._measured:
            return 0.0
        unit = median(self._measured) / cores
        return min(each._remaining(unit * len(self._all)) for each in self._all) + work * unit

    def _remaining(self, unit: float) -> float:
        """Return the seconds until the running batch ends, at `unit` seconds per unit of work."""
        began = self._began
        return 0.0 if began is None else max(0.0, self._work * unit - (time.monotonic() - began))


class Admission:
    """Rejects requests that would not be served in time. Until the pace is known, at most one batch may wait.

    Requests without a deadline are never rejected; their callers limit themselves.
    """

    def __init__(self, pace: Pace, *, max_batch: int, max_waiting: int) -> None:
        self._pace = pace
        self._max_batch = max_batch
        self._max_waiting = max_waiting

    def check(self, new: Sequence[Generation], waiting: Sequence[Generation], cores: int, deadline: float) -> None:
        """Raise TooBusy, with the seconds to wait before a retry, unless the new images can be captioned in time.

        `new` and `waiting` have one generation for each image. `deadline` is in seconds from now.
        """
        if math.isinf(deadline):
            return
        seconds = self._pace.estimate(work_of(waiting) + work_of(new), cores)
        most = self._max_waiting if self._pace.is_known else min(self._max_waiting, self._max_batch)
        if len(waiting) + len(new) > most:
            raise TooBusy(BUSY, retry_after=math.ceil(seconds) + 1)
        longest = MAX_WAIT_SHARE * deadline
        if seconds > longest:
            raise TooBusy("the captions could not be ready in time", retry_after=math.ceil(seconds - longest))
