"""Requests of many threads -> one model, in the thread that owns it.

Whoever finds it idle is begun at once. Who comes while a batch is still being encoded joins it, if there is room: to
encode pictures one by one loses nothing, to write tokens together gains much. Who comes later waits for the next batch.
(Joining at the next token was tried, and was slower: searches that are not in step share less of each step's work.
`python -m tests.benchmarks.captions --part batching` compares both.) A request is refused at once when too many wait,
or too much to be done in time, and given up when its deadline has passed or its client has left.
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
from flaskapp.captioner.progress import Progress
from flaskapp.captioner.protocol import Engine
from flaskapp.errors import CaptionerUnavailable, CaptionFailed, ClientLeft, DeadlineExceeded, FlaskappError
from flaskapp.trace import Trace

log = logging.getLogger(__name__)

LEFT = "nobody waits for the captions any more"
LOOK = 0.5  # seconds between two looks whether a client has left


class Batcher:
    def __init__(
        self, engine: Engine, cores: Cores, *, max_batch: int, max_waiting: int, on_death: Callable[[], None]
    ) -> None:
        self._engine = engine
        self._cores = cores
        self._max_batch = max_batch
        self._on_death = on_death
        self._expected: list[Generation] = []  # of images that are admitted and still being decoded
        self._waiting: deque[Job] = deque()
        self._running: dict[Any, Job] = {}  # by their searches
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._is_closed = False
        self._pace = Pace()
        self._progress = Progress()
        self._admission = Admission(self._pace, max_batch=max_batch, max_waiting=max_waiting)
        self._part = 1  # of the cores, at the last step
        self.steps = 0  # steps that were run, and how many images took part in all of them together
        self.steps_of_images = 0

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
        if waiting or self._running:
            self._admission.check(new, waiting, self._cores.least_part, deadline)

    def close(self) -> None:
        """Finish what is waiting, and end the thread."""
        with self._changed:
            thread = self._thread
            self._is_closed = True
            self._changed.notify_all()
        if thread is not None:
            thread.join()
            self._is_closed = False

    def _live(self) -> None:
        """The thread. Should it die, all who wait are told."""
        try:
            give_way(self._cores.niceness)
            while not self._is_over():
                if not self._running:
                    self._gather()
                self._drop_abandoned()
                if self._running:
                    self._part = self._cores.claim()
                    self._step()
        except BaseException:
            log.exception("The captioning thread died")
            self._on_death()
            raise
        finally:
            self._cores.release()
            with self._changed:
                self._thread = None  # what is submitted from here on starts another
                left = [*self._waiting, *self._running.values()]
                self._waiting.clear()
                self._running.clear()
            for job in left:
                job.future.set_exception(CaptionerUnavailable("the captioner stopped; it will be back"))

    def _is_over(self) -> bool:
        with self._changed:
            return self._is_closed and not self._waiting and not self._running

    def _gather(self) -> None:
        """The next batch, once there is somebody. Who comes while it is being encoded belongs to it."""
        jobs = self._wait_for_somebody()
        images = 0
        while jobs:
            images += len(jobs)
            self._part = self._cores.claim()
            self._start(jobs)
            jobs = self._take_waiting(self._max_batch - images, _is_fast)
            self._pace.grow(work_of(job.generation for job in jobs))
        if self._running:
            self._note_batch(list(self._running.values()))

    def _wait_for_somebody(self) -> list[Job]:
        """Nobody, if this is to be the end."""
        with self._changed:
            self._pace.end(self._part)
            self._cores.release()
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
            metrics.current.waiting.set(len(self._waiting))
        return jobs

    def _note_batch(self, jobs: Collection[Job]) -> None:
        metrics.current.batch.observe(len(jobs))
        for job in jobs:
            job.batch_size = len(jobs)

    def _start(self, jobs: Sequence[Job]) -> None:
        for group in _compatible([job for job in jobs if not _is_fast(job)]):
            self._pace.give_up()
            self._note_batch(group)
            self._generate(group)
        searching = [job for job in jobs if _is_fast(job)]
        if searching:
            self._join(searching)

    def _generate(self, jobs: Sequence[Job]) -> None:
        """By `generate`, a whole batch at once. If that fails, one at a time, so that a bad one fails alone."""
        jobs = [job for job in jobs if not job.is_abandoned]
        if not jobs:
            return

        def is_given_up() -> bool:
            self._progress.step()
            return all(job.is_abandoned for job in jobs)

        try:
            with self._making_progress(len(jobs)):
                results = self._engine.generate([job.pixels for job in jobs], jobs[0].generation, is_given_up)
        except Exception as error:
            if len(jobs) == 1:
                _fail(jobs[0], error)
                return
            log.exception("A batch of %d images failed: they are tried again one by one", len(jobs))
            for job in jobs:
                self._generate([job])
        else:
            for job, result in zip(jobs, results, strict=True):
                self._finish(job, lambda result=result: result)  # type: ignore[misc]

    @contextmanager
    def _making_progress(self, images: int) -> Iterator[None]:
        self._progress.begin(images)
        try:
            yield
        finally:
            self._progress.end()

    @property
    def has_stalled(self) -> bool:
        """Whether the model has made no step for far longer than it ever took."""
        return self._progress.has_stalled

    def _join(self, jobs: Sequence[Job]) -> None:
        """Add jobs to those that run. If that fails, one at a time, so that a bad one fails alone."""
        try:
            with self._making_progress(1):  # images are encoded one by one
                searches = self._add(jobs)
        except Exception as error:
            if len(jobs) == 1:
                _fail(jobs[0], error)
            else:
                for job in jobs:
                    self._join([job])
        else:
            self._running.update(zip(searches, jobs, strict=True))

    def _add(self, jobs: Sequence[Job]) -> Sequence[Any]:
        pixels, generations = [job.pixels for job in jobs], [job.generation for job in jobs]
        return self._engine.add(pixels, generations, self._progress.step)

    def _drop_abandoned(self) -> None:
        for search in [search for search, job in self._running.items() if job.is_abandoned]:
            self._engine.drop(search)
            del self._running[search]
            self._pace.give_up()

    def _step(self) -> None:
        """One more token for all that run. If that fails, each starts again by itself: a bad one fails alone."""
        self.steps += 1
        self.steps_of_images += len(self._running)
        try:
            with self._making_progress(len(self._running)):
                done = self._engine.step()
        except Exception:
            log.exception("A batch of %d images failed: they are tried again one by one", len(self._running))
            jobs = list(self._running.values())
            self._running.clear()
            self._engine.clear()
            for job in jobs:
                if not job.is_abandoned:
                    self._finish(job, lambda job=job: self._run_alone(job))  # type: ignore[misc]
        else:
            for search in done:
                self._finish(self._running.pop(search), lambda search=search: search.results)  # type: ignore[misc]

    def _run_alone(self, job: Job) -> Any:
        try:
            with self._making_progress(1):
                (search,) = self._add([job])
                while not self._engine.step():
                    self._progress.step()
                    if job.is_abandoned:
                        raise ClientLeft(LEFT)
        finally:
            self._engine.clear()
        return search.results

    def _finish(self, job: Job, run: Callable[[], Any]) -> None:
        """Give a job its captions, or the error of making them."""
        try:
            captions = self._engine.to_captions(run(), job.generation)
            if len(captions) != job.generation.num_return_sequences:
                raise RuntimeError(f"{len(captions)} captions came out, not {job.generation.num_return_sequences}")
        except Exception as error:
            _fail(job, error)
        else:
            job.future.set_result(captions)
            metrics.current.count_image(_is_fast(job), sum(caption.tokens for caption in captions))


def _too_late(deadline: float) -> DeadlineExceeded:
    return DeadlineExceeded(f"the captions were not ready within {deadline:g} seconds")


def _check_patience(expires: float, deadline: float, has_left: Callable[[], bool]) -> None:
    if time.monotonic() > expires:
        raise _too_late(deadline)
    if has_left():
        raise ClientLeft(LEFT)


def _fail(job: Job, error: Exception) -> None:
    if not isinstance(error, FlaskappError):
        log.error("An image could not be captioned", exc_info=error)
        error = CaptionFailed("the model failed at this image")
    job.future.set_exception(error)


def _is_fast(job: Job) -> bool:
    """Whether the fast decoder takes it; else `generate` does."""
    return job.generation.fallback is None


def _compatible(jobs: Sequence[Job]) -> Iterator[list[Job]]:
    """Groups that one call of `generate` can take: those with the same generation, in the order of their first."""
    groups: dict[Generation, list[Job]] = {}
    for job in jobs:
        if job.generation.can_share_a_batch:
            groups.setdefault(job.generation, []).append(job)
        else:
            yield [job]
    yield from groups.values()
