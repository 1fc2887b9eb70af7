"""How long captions take here, learnt from those that were made: so that nobody is admitted to wait in vain."""

import time
from collections.abc import Iterable

from flaskapp.captioner.generation import GenerationSettings

ENCODER = 150  # what an image costs before its first token, in tokens of one beam (ViT-B and GPT-2: 20 of 37 GMAC)
MEMORY = 0.5  # the part that the last batch has in the estimate


def work_of(settings: Iterable[GenerationSettings]) -> int:
    """The work of one image for each of these settings, in tokens of one beam."""
    return sum(ENCODER + each.num_beams * each.max_length for each in settings)


class Pace:
    """Seconds of a core for a unit of work. One batch at a time is measured."""

    def __init__(self) -> None:
        self._seconds: float | None = None  # of one core, for one unit; None until a batch was done
        self._began: float | None = None
        self._work = 0

    @property
    def is_known(self) -> bool:
        return self._seconds is not None

    def begin(self, work: int) -> None:
        """A batch begins."""
        self._began, self._work = time.monotonic(), work

    def give_up(self) -> None:
        """The batch that began will not do all its work: its time would say nothing."""
        self._began = None

    def end(self, cores: int) -> None:
        """The batch that began is done; it had so many cores."""
        if self._began is None:
            return
        seconds = (time.monotonic() - self._began) * cores / self._work
        self._began = None
        self._seconds = seconds if self._seconds is None else MEMORY * seconds + (1 - MEMORY) * self._seconds

    def estimate(self, work: int, cores: int) -> float:
        """Seconds until so much work is done on so many cores, after what is left of the batch that runs."""
        if self._seconds is None:
            return 0.0
        left = 0.0
        if self._began is not None:
            left = max(0.0, self._work * self._seconds / cores - (time.monotonic() - self._began))
        return left + work * self._seconds / cores
