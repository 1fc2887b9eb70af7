"""A thread that runs batches on the model. Several lanes run side by side.

Many operations of a decode step are too small to parallelize: two batches on one core each are faster than one batch on
both. A single batch uses all cores.
"""

import logging
import threading
from collections.abc import Callable, Sequence
from typing import Protocol

from flaskapp.captioner.admission import Pace, work_of
from flaskapp.captioner.runner import Engine, Runner, record_batch
from flaskapp.captioner.topology import stay_on
from flaskapp.captioner.work_item import WorkItem
from flaskapp.errors import CaptionerUnavailable
from flaskapp.machine import lower_priority, release_threads

log = logging.getLogger(__name__)


class Queue(Protocol):
    """The queue that all lanes share: a `Batcher`."""

    max_batch: int

    def wait(self, lane: "Lane") -> list[WorkItem]:
        """Wait for the next batch. An empty list ends the lane."""

    def take(self, lane: "Lane", room: int, may_join: Callable[[WorkItem], bool]) -> list[WorkItem]:
        """Return at most `room` waiting items that may join the lane's batch."""

    def cores(self, lane: "Lane") -> int:
        """Return this busy lane's share of the cores."""

    def threads(self, lane: "Lane") -> int:
        """Return the number of threads for this busy lane, at most its share of the cores."""

    def drain(self) -> list[WorkItem]:
        """Remove and return all waiting items."""


class Lane:
    """`taken` holds the items of the running batch, and is empty while the lane is idle. The queue's lock guards it."""

    def __init__(self, engine: Engine, queue: Queue, pace: Pace, cores: frozenset[int]) -> None:
        self.runner = Runner(engine, self._set_threads)
        self.pace = pace
        self.taken: list[WorkItem] = []
        self.thread: threading.Thread | None = None
        self._engine, self._queue = engine, queue
        self._allowed_cores = cores
        self._cores = 1  # at the last step

    def start(self) -> None:
        """Start the thread unless it runs. The caller holds the queue's lock."""
        if self.thread is None:
            thread = threading.Thread(target=self._run, name="captions", daemon=True)
            thread.start()  # may fail: assign only a thread that runs
            self.thread = thread

    def _run(self) -> None:
        """Run batches until the queue closes. If this thread dies, every waiting item fails."""
        try:
            lower_priority()
            stay_on(self._allowed_cores)
            while self._begin_batch():
                while self.runner.running:
                    if self.runner.drop_abandoned():
                        self.pace.discard()
                    if self.runner.running:
                        self.runner.step()
        except BaseException:
            log.exception("A captioning thread died")
            raise
        finally:
            self.thread = None  # the next request starts another thread
            self.runner.running.clear()
            _fail([*self.taken, *self._queue.drain()])
            self.taken = []

    def _set_threads(self) -> None:
        self._cores = self._at_most_its_own(self._queue.cores(self))
        self._engine.use_threads(self._at_most_its_own(self._queue.threads(self)))

    def _at_most_its_own(self, cores: int) -> int:
        """Limit a share to the lane's own cores: a cache may serve fewer cores than the mean."""
        return min(cores, len(self._allowed_cores) or cores)

    def _begin_batch(self) -> bool:
        """Wait for the next batch and encode it. Items that arrive meanwhile join. Return False if the queue closed."""
        self.pace.end(self._cores)
        release_threads()  # an idle lane's would slow down the others
        items = self._queue.wait(self)
        if not items:
            return False
        self.pace.begin(work_of(item.generation for item in items))
        images = 0
        while items:
            images += len(items)
            if not all(item.is_fast for item in items):
                self.pace.discard()  # `generate` takes another time for the same work
            self.runner.start(items)
            items = self._queue.take(self, self._queue.max_batch - images, lambda item: item.is_fast)
            self.pace.add(work_of(item.generation for item in items))
        if self.runner.running:
            record_batch(list(self.runner.running.values()))
        return True


def _fail(items: Sequence[WorkItem]) -> None:
    for item in items:
        if not item.future.done():
            item.future.set_exception(CaptionerUnavailable("the captioner stopped; it will be back"))
