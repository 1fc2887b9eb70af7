"""Estimates how long captions take, from those that were made: admission control needs it."""

import time
from collections import deque
from collections.abc import Iterable
from statistics import median

from flaskapp.captioner.generation import Generation

ENCODER = 150  # what an image costs before its first token, in tokens of one beam (ViT-B and GPT-2: 20 of 37 GMAC)
MEMORY = 5  # batches


def work_of(generations: Iterable[Generation]) -> int:
    """The work of one image for each of these generations, in tokens of one beam."""
    return sum(ENCODER + each.rows * each.max_length for each in generations)


class Pace:
    """Seconds of a core for a unit of work. One batch at a time is measured; the first only warms everything up."""

    def __init__(self) -> None:
        self._measured: deque[float] = deque(maxlen=MEMORY)
        self._all = [self]  # of the batches that run side by side
        self._is_warm = False
        self._began: float | None = None
        self._work = 0

    def beside(self) -> "Pace":
        """One for another batch at the same time: what is learnt of the one is known of the other."""
        other = Pace()
        other._measured, other._all = self._measured, self._all
        self._all.append(other)
        return other

    @property
    def is_known(self) -> bool:
        return bool(self._measured)

    def begin(self, work: int) -> None:
        """A batch begins."""
        self._began, self._work = time.monotonic(), work

    def grow(self, work: int) -> None:
        """More work joins the batch that began."""
        self._work += work

    def give_up(self) -> None:
        """The batch that began will not do all its work: its time would say nothing."""
        self._began = None

    def end(self, cores: int) -> None:
        """The batch that began is done; it had so many cores."""
        if self._began is None:
            return
        if self._is_warm:
            self._measured.append((time.monotonic() - self._began) * cores / self._work)
        self._is_warm = True
        self._began = None

    def estimate(self, work: int, cores: int) -> float:
        """Seconds until so much work is done on so many cores, after what is left of the batches that run."""
        if not self._measured:
            return 0.0
        unit = median(self._measured) / cores
        return min(each._left(unit * len(self._all)) for each in self._all) + work * unit

    def _left(self, unit: float) -> float:
        """Seconds for what is left of the batch that runs."""
        began = self._began
        return 0.0 if began is None else max(0.0, self._work * unit - (time.monotonic() - began))
