"""Jobs on the engine, in the thread that owns it: by a search, or by `generate`. A bad job fails alone."""

import logging
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from flaskapp import metrics
from flaskapp.captioner.generation import Generation
from flaskapp.captioner.job import Job
from flaskapp.captioner.progress import Progress
from flaskapp.captioner.protocol import Engine
from flaskapp.errors import CaptionFailed, ClientLeft, FlaskappError

log = logging.getLogger(__name__)

LEFT = "the client disconnected"


class Runner:
    """`running` are the jobs whose searches have begun; those of `generate` are done when `start` returns."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._progress = Progress()
        self.running: dict[Any, Job] = {}  # by their searches
        self.steps = 0  # steps that were run, and how many images took part in all of them together
        self.steps_of_images = 0

    @property
    def has_stalled(self) -> bool:
        """Whether the model has made no step for far longer than it ever took."""
        return self._progress.has_stalled

    def start(self, jobs: Sequence[Job]) -> None:
        """Begin jobs: those for `generate` are run to their end, the others join the searches that are in step."""
        for group in _compatible([job for job in jobs if not is_fast(job)]):
            note_batch(group)
            self._generate(group)
        searching = [job for job in jobs if is_fast(job)]
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
            with self._making_progress(_tokens(jobs)):
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
    def _making_progress(self, work: int) -> Iterator[None]:
        self._progress.begin(work)
        try:
            yield
        finally:
            self._progress.end()

    def _join(self, jobs: Sequence[Job]) -> None:
        """Add jobs to those that run. If that fails, one at a time, so that a bad one fails alone."""
        try:
            with self._making_progress(_tokens(jobs[:1])):  # images are encoded one by one
                searches = self._add(jobs)
        except Exception as error:
            if len(jobs) == 1:
                _fail(jobs[0], error)
            else:
                for job in jobs:
                    self._join([job])
        else:
            self.running.update(zip(searches, jobs, strict=True))

    def _add(self, jobs: Sequence[Job]) -> Sequence[Any]:
        pixels, generations = [job.pixels for job in jobs], [job.generation for job in jobs]
        return self._engine.add(pixels, generations, self._progress.step)

    def drop_abandoned(self) -> bool:
        """Forget the searches of jobs that were given up. Returns whether there were any."""
        abandoned = [search for search, job in self.running.items() if job.is_abandoned]
        for search in abandoned:
            self._engine.drop(search)
            del self.running[search]
        return bool(abandoned)

    def step(self) -> None:
        """One more token for all that run. If that fails, each starts again by itself: a bad one fails alone."""
        self.steps += 1
        self.steps_of_images += len(self.running)
        try:
            with self._making_progress(_tokens(self.running.values())):
                done = self._engine.step()
        except Exception:
            log.exception("A batch of %d images failed: they are tried again one by one", len(self.running))
            jobs = list(self.running.values())
            self.running.clear()
            self._engine.clear()
            for job in jobs:
                if not job.is_abandoned:
                    self._finish(job, lambda job=job: self._run_alone(job))  # type: ignore[misc]
        else:
            for search in done:
                self._finish(self.running.pop(search), lambda search=search: search.results)  # type: ignore[misc]
            for search, job in self.running.items():
                if job.on_text is not None:
                    self._tell(search, job)

    def _tell(self, search: Any, job: Job) -> None:
        """Give a job the words that are sure. Without them it has all at the end."""
        try:
            if job.on_text is not None and (text := self._engine.text_so_far(search)):
                job.on_text(text)
        except Exception:
            log.exception("The words of a caption could not be told as they came")
            job.on_text = None

    def _run_alone(self, job: Job) -> Any:
        try:
            with self._making_progress(_tokens([job])):
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
            metrics.current.count_image(is_fast(job), sum(caption.tokens for caption in captions))


def is_fast(job: Job) -> bool:
    """Whether the fast decoder takes it; else `generate` does."""
    return job.generation.fallback is None


def _tokens(jobs: Collection[Job]) -> int:
    """How many may go through the decoder in a step: at the first, those of the prompts."""
    return sum(job.generation.rows * len(job.generation.prompt_ids) for job in jobs)


def note_batch(jobs: Collection[Job]) -> None:
    """These go through the model together."""
    metrics.current.batch.observe(len(jobs))
    for job in jobs:
        job.batch_size = len(jobs)


def _compatible(jobs: Sequence[Job]) -> Iterator[list[Job]]:
    """Groups that one call of `generate` can take: those with the same generation, in the order of their first."""
    groups: dict[Generation, list[Job]] = {}
    for job in jobs:
        if job.generation.is_alone:
            yield [job]
        else:
            groups.setdefault(job.generation, []).append(job)
    yield from groups.values()


def _fail(job: Job, error: Exception) -> None:
    if not isinstance(error, FlaskappError):
        log.error("An image could not be captioned", exc_info=error)
        error = CaptionFailed("the model failed at this image")
    job.future.set_exception(error)
