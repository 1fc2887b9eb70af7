"""Whether a model still makes progress."""

import time

SLACK = 4  # a step may take so many times as long as the longest so far, by the work in it
LEAST = 5.0  # seconds without a step that are never taken for a standstill


class Progress:
    """Times the steps of the one thread that runs the model; other threads ask whether it stands still."""

    def __init__(self) -> None:
        self._longest = 0.0  # seconds of a step, for each unit of its work
        self._began: float | None = None  # the step that runs, if one does
        self._work = 1

    def begin(self, work: int) -> None:
        """A step begins. It takes about in proportion to `work`: the tokens that go through the model."""
        self._work, self._began = max(1, work), time.monotonic()

    def step(self) -> None:
        """A step ends, and the next one begins with as much work."""
        if self._began is not None and not self.has_stalled:
            self._longest = max(self._longest, (time.monotonic() - self._began) / self._work)
        self._began = time.monotonic()

    def end(self) -> None:
        """A step ends, and none begins."""
        self.step()
        self._began = None

    @property
    def has_stalled(self) -> bool:
        """Whether the step that runs takes far longer than any did. Of the first, nothing is known."""
        began = self._began
        if began is None or self._longest == 0:
            return False
        return time.monotonic() - began > max(LEAST, SLACK * self._longest * self._work)
