"""Requests of many threads -> batches for the one thread that owns the model.

An idle engine starts a request immediately. Requests that arrive while a batch is being encoded join it, if there is
room: encoding images one by one loses nothing, decoding together gains much. Later ones wait for the next batch.
(Joining at the next token was tried, and was slower: searches that are not in step share less of each step's work.
`python -m tests.benchmarks.captions --part batching` compares both.) A request is refused at once when too many wait,
or too much to be done in time, and given up when its deadline has passed or its client has disconnected.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from flaskapp import metrics
from flaskapp.captioner.admission import Admission
from flaskapp.captioner.cores import Cores, give_way
from flaskapp.captioner.generation import Caption, Generation
from flaskapp.captioner.job import Job, note
from flaskapp.captioner.pace import Pace, work_of
from flaskapp.captioner.protocol import Engine
from flaskapp.captioner.runner import LEFT, Runner, is_fast, note_batch
from flaskapp.errors import CaptionerUnavailable, ClientLeft, DeadlineExceeded
from flaskapp.trace import Trace

log = logging.getLogger(__name__)

LOOK = 0.5  # seconds between two looks whether a client has left


class Batcher:
    def __init__(
        self, engine: Engine, cores: Cores, *, max_batch: int, max_waiting: int, on_death: Callable[[], None]
    ) -> None:
        self._cores = cores
        self._max_batch = max_batch
        self._on_death = on_death
        self._expected: list[Generation] = []  # of images that are admitted and still being decoded
        self._waiting: deque[Job] = deque()
        self._taken: list[Job] = []  # of the batch that runs
        self._runner = Runner(engine)
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._is_closed = False
        self._pace = Pace()
        self._admission = Admission(self._pace, max_batch=max_batch, max_waiting=max_waiting)
        self._part = 1  # of the cores, at the last step

    @property
    def has_stalled(self) -> bool:
        """Whether the model has made no step for far longer than it ever took."""
        return self._runner.has_stalled

    def caption(
        self,
        pixels: Collection[Any],
        generation: Generation,
        deadline: float,
        has_left: Callable[[], bool] = lambda: False,
        trace: Trace | None = None,
    ) -> list[list[Caption]]:
        """The captions of each image, by `deadline` seconds from now. There must be room before the first is decoded.

        Raises TooBusy at once if they cannot all wait or be done by then, DeadlineExceeded, CaptionFailed if the model
        fails at one, ClientLeft when `has_left` says that nobody wants them any more.
        """
        expires = time.monotonic() + deadline
        trace = trace or Trace()
        jobs: list[Job] = []
        with self._room_for(len(pixels), generation, deadline), trace.timing("decode"):
            for each in pixels:
                jobs.append(Job(each, generation))
                _check_patience(expires, deadline, has_left)
        self._submit(jobs)
        try:
            return [self._wait_for(job, expires, has_left) for job in jobs]
        except TimeoutError:
            raise _too_late(deadline) from None
        finally:
            for job in jobs:
                job.is_abandoned = not job.future.done()
            note(trace, jobs)

    @contextmanager
    def _room_for(self, images: int, generation: Generation, deadline: float) -> Iterator[None]:
        """Keep places in the queue until the images are in it."""
        expected = [generation] * images
        with self._changed:
            self._admit(expected, deadline)
            self._expected += expected
        try:
            yield
        finally:
            with self._changed:
                for each in expected:
                    self._expected.remove(each)

    def _wait_for(self, job: Job, expires: float, has_left: Callable[[], bool]) -> list[Caption]:
        while (left := expires - time.monotonic()) > LOOK:
            with suppress(TimeoutError):
                return job.future.result(LOOK)
            if has_left():
                raise ClientLeft(LEFT)
        return job.future.result(max(0.0, left))

    def _submit(self, jobs: Sequence[Job]) -> None:
        with self._changed:
            if self._thread is None:
                thread = threading.Thread(target=self._live, name="batcher", daemon=True)
                thread.start()  # only one that could be started counts
                self._thread = thread
            self._waiting.extend(jobs)
            metrics.current.waiting.set(len(self._waiting))
            self._changed.notify_all()

    def _admit(self, new: Sequence[Generation], deadline: float) -> None:
        """Raises TooBusy for what would wait in vain. Whoever finds nothing to do is never refused."""
        waiting = [*(job.generation for job in self._waiting if not job.is_abandoned), *self._expected]
        if waiting or self._runner.running:
            self._admission.check(new, waiting, self._cores.least_part, deadline)

    def close(self) -> None:
        """Finish what is waiting, and end the thread."""
        with self._changed:
            thread = self._thread
            self._is_closed = thread is not None
            self._changed.notify_all()
        if thread is not None:
            thread.join()
            self._is_closed = False

    def _live(self) -> None:
        """The thread. Should it die, all who wait are told."""
        try:
            give_way(self._cores.niceness)
            while not self._is_over():
                if not self._runner.running:
                    self._gather()
                if self._runner.drop_abandoned():
                    self._pace.give_up()
                if self._runner.running:
                    self._part = self._cores.claim()
                    self._runner.step()
        except BaseException:
            log.exception("The captioning thread died")
            self._on_death()
            raise
        finally:
            self._cores.release()
            with self._changed:
                self._thread = None  # what is submitted from here on starts another
                left = [*self._waiting, *self._taken]
                self._waiting.clear()
                self._runner.running.clear()
            for job in left:
                if not job.future.done():
                    job.future.set_exception(CaptionerUnavailable("the captioner stopped; it will be back"))

    def _is_over(self) -> bool:
        with self._changed:
            return self._is_closed and not self._waiting and not self._runner.running

    def _gather(self) -> None:
        """The next batch, once there is somebody. Who comes while it is being encoded belongs to it."""
        jobs = self._wait_for_somebody()
        images = 0
        while jobs:
            images += len(jobs)
            self._part = self._cores.claim()
            if not all(map(is_fast, jobs)):
                self._pace.give_up()  # no rate for those: they take as long as `generate` takes
            self._runner.start(jobs)
            jobs = self._take_waiting(self._max_batch - images, is_fast)
            self._pace.grow(work_of(job.generation for job in jobs))
        if self._runner.running:
            note_batch(list(self._runner.running.values()))

    def _wait_for_somebody(self) -> list[Job]:
        """Nobody, if this is to be the end."""
        with self._changed:
            self._pace.end(self._part)
            self._cores.release()
            self._taken = []
            self._changed.wait_for(lambda: self._waiting or self._is_closed)
            jobs = self._take_waiting(self._max_batch)
            if jobs:
                self._pace.begin(work_of(job.generation for job in jobs))
            return jobs

    def _take_waiting(self, room: int, may_join: Callable[[Job], bool] = lambda _: True) -> list[Job]:
        """In their order, without those that were given up, up to the first that may not join."""
        jobs: list[Job] = []
        with self._changed:
            while self._waiting and len(jobs) < room and may_join(self._waiting[0]):
                job = self._waiting.popleft()
                if not job.is_abandoned:
                    job.begin()
                    jobs.append(job)
            self._taken += jobs
            metrics.current.waiting.set(len(self._waiting))
        return jobs


def _too_late(deadline: float) -> DeadlineExceeded:
    return DeadlineExceeded(f"the captions were not ready within {deadline:g} seconds")


def _check_patience(expires: float, deadline: float, has_left: Callable[[], bool]) -> None:
    if time.monotonic() > expires:
        raise _too_late(deadline)
    if has_left():
        raise ClientLeft(LEFT)
