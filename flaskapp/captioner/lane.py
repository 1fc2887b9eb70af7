"""One thread that runs batches on the model, beside others that do the same.

Many operations of a decode step are too small to share among cores: two batches with a core each are faster than one
with both. A batch that is alone has all cores.
"""

import logging
import threading
from collections.abc import Callable, Sequence
from typing import Protocol

from flaskapp.captioner.niceness import lower_priority
from flaskapp.captioner.pace import Pace, work_of
from flaskapp.captioner.protocol import Engine
from flaskapp.captioner.runner import Runner, is_fast, note_batch
from flaskapp.captioner.work_item import WorkItem
from flaskapp.errors import CaptionerUnavailable

log = logging.getLogger(__name__)


class Queue(Protocol):
    """Where a lane gets its items, and what it needs to know of the other lanes."""

    max_batch: int

    def wait(self, lane: "Lane") -> list[WorkItem]:
        """The next batch, once there are items. An empty list ends the lane."""

    def take(self, lane: "Lane", room: int, may_join: Callable[[WorkItem], bool]) -> list[WorkItem]:
        """Waiting items that may join the lane's batch, at most `room`."""

    def cores(self, lane: "Lane") -> int:
        """How many a busy lane has at the moment."""

    def left(self) -> list[WorkItem]:
        """The waiting items, which will not be done."""


class Lane:
    """`taken` are the items of its batch, none while it is idle. The queue's lock guards them."""

    def __init__(self, engine: Engine, queue: Queue, pace: Pace) -> None:
        self.runner = Runner(engine)
        self.pace = pace
        self.taken: list[WorkItem] = []
        self.thread: threading.Thread | None = None
        self._engine, self._queue = engine, queue
        self._cores = 1  # at the last step

    def start(self) -> None:
        """Start its thread, unless it runs. The queue's lock is held."""
        if self.thread is None:
            thread = threading.Thread(target=self._run, name="captions", daemon=True)
            thread.start()  # only one that could be started counts
            self.thread = thread

    def _run(self) -> None:
        """The thread. If it dies, every waiting item fails."""
        try:
            lower_priority()
            while self._gather():
                while self.runner.running:
                    if self.runner.drop_abandoned():
                        self.pace.give_up()
                    if self.runner.running:
                        self._claim_cores()
                        self.runner.step()
        except BaseException:
            log.exception("A captioning thread died")
            raise
        finally:
            self.thread = None  # what is submitted from here on starts another
            self.runner.running.clear()
            _refuse([*self.taken, *self._queue.left()])
            self.taken = []

    def _claim_cores(self) -> None:
        self._cores = self._queue.cores(self)
        self._engine.use_cores(self._cores)

    def _gather(self) -> bool:
        """Begin the next batch. Items that arrive while it is being encoded join it. Returns whether there is one."""
        self.pace.end(self._cores)
        items = self._queue.wait(self)
        if not items:
            return False
        self.pace.begin(work_of(item.generation for item in items))
        images = 0
        while items:
            images += len(items)
            if not all(map(is_fast, items)):
                self.pace.give_up()  # no rate for those: they take as long as `generate` takes
            self._claim_cores()
            self.runner.start(items)
            items = self._queue.take(self, self._queue.max_batch - images, is_fast)
            self.pace.grow(work_of(item.generation for item in items))
        if self.runner.running:
            note_batch(list(self.runner.running.values()))
        return True


def _refuse(items: Sequence[WorkItem]) -> None:
    for item in items:
        if not item.future.done():
            item.future.set_exception(CaptionerUnavailable("the captioner stopped; it will be back"))
