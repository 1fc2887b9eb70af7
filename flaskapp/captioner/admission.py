"""Admission control: bounds the queue, and rejects requests that would miss their deadline."""

import math
from collections.abc import Sequence

from flaskapp.captioner.generation import Generation
from flaskapp.captioner.pace import Pace, work_of
from flaskapp.errors import TooBusy

BUSY = "too many images are waiting for their captions"
SAFETY = 0.7  # the part of a deadline that the estimated wait of a request may have: estimates are wrong


class Admission:
    """Refuses requests that would not be served in time. Before the pace is known, no more than one batch may wait.

    A caller without a deadline waits as long as it takes, and bounds its own requests.
    """

    def __init__(self, pace: Pace, *, max_batch: int, max_waiting: int) -> None:
        self._pace = pace
        self._max_batch = max_batch
        self._max_waiting = max_waiting

    def check(self, new: Sequence[Generation], waiting: Sequence[Generation], cores: int, deadline: float) -> None:
        """The generations of the images that come and of those that wait before them; `deadline` in seconds from now.

        Raises TooBusy, which says when to come back.
        """
        if math.isinf(deadline):
            return
        seconds = self._pace.estimate(work_of(waiting) + work_of(new), cores)
        most = self._max_waiting if self._pace.is_known else min(self._max_waiting, self._max_batch)
        if len(waiting) + len(new) > most:
            raise TooBusy(BUSY, retry_after=math.ceil(seconds) + 1)
        if seconds > SAFETY * deadline:
            raise TooBusy("the captions could not be ready in time", retry_after=math.ceil(seconds - SAFETY * deadline))
