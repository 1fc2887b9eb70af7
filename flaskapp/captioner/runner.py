"""Runs items on the engine: by the fast decoder's searches, or by `generate`. A bad image fails alone."""

import logging
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

from flaskapp import metrics
from flaskapp.captioner.generation import Caption, Generation
from flaskapp.captioner.work_item import WorkItem
from flaskapp.errors import CaptionFailed, ClientLeft, FlaskappError, InvalidGeneration

log = logging.getLogger(__name__)

CLIENT_LEFT = "the client disconnected"
STALL_FACTOR = 4  # a step has stalled at this multiple of the slowest step so far, per unit of work
MIN_STALL = 5.0  # least seconds of a stalled step


class Engine(Protocol):
    """What the scheduler needs of a model: it imports no torch.

    Images are preprocessed. A search is any object that has `results` once it is done.
    """

    def sibling(self) -> "Engine": ...
    def use_threads(self, number: int) -> None: ...
    def images_per_encoder_call(self, image: Any) -> int: ...
    def add(
        self, images: Sequence[Any], generations: Sequence[Generation], on_progress: Callable[[], object]
    ) -> Sequence[Any]: ...
    def step(self) -> Sequence[Any]: ...
    def drop(self, search: Any) -> None: ...
    def clear(self) -> None: ...
    def generate(self, images: Sequence[Any], generation: Generation, on_step: Callable[[], bool]) -> list[Any]: ...
    def text_so_far(self, search: Any) -> str | None: ...
    def to_captions(self, results: Any, generation: Generation) -> list[Caption]: ...


class StallDetector:
    """Times the steps of one model thread. Any thread may ask whether the running step has stalled."""

    def __init__(self) -> None:
        self._longest = 0.0  # seconds per unit of work, in the slowest step
        self._began: float | None = None  # start of the running step
        self._work = 1

    def begin(self, work: int) -> None:
        """Start to time a step of `work` tokens through the model: its time is about proportional to them."""
        self._work, self._began = max(1, work), time.monotonic()

    def step(self) -> None:
        """End a step, and start the next one with the same work."""
        if self._began is not None and not self.has_stalled:
            self._longest = max(self._longest, (time.monotonic() - self._began) / self._work)
        self._began = time.monotonic()

    def end(self) -> None:
        """End the last step."""
        self.step()
        self._began = None

    @property
    def has_stalled(self) -> bool:
        """Whether the running step takes far longer than any before. The first step never stalls."""
        began = self._began
        if began is None or self._longest == 0:
            return False
        return time.monotonic() - began > max(MIN_STALL, STALL_FACTOR * self._longest * self._work)


class Runner:
    """`running` holds the items whose searches run. Items for `generate` are done when `start` returns.

    `before_step` is called before each step, and before each encoder call.
    """

    def __init__(self, engine: Engine, before_step: Callable[[], object] = lambda: None) -> None:
        self._engine, self._before_step = engine, before_step
        self._stall_detector = StallDetector()
        self.running: dict[Any, WorkItem] = {}  # by search
        self.steps = 0
        self.steps_of_images = 0  # images in each step, summed

    @property
    def has_stalled(self) -> bool:
        """Whether the running step takes far longer than any before."""
        return self._stall_detector.has_stalled

    def start(self, items: Sequence[WorkItem]) -> None:
        """Run items for `generate` to their end, then add the others to the running searches."""
        for group in _compatible([item for item in items if not item.is_fast]):
            record_batch(group)
            self._generate(group)
        fast = [item for item in items if item.is_fast]
        if fast:
            self._join(fast)

    def _generate(self, items: Sequence[WorkItem]) -> None:
        """Run `generate` on a batch. If it fails, run the items one at a time, so that a bad one fails alone."""
        items = [item for item in items if not item.is_abandoned]
        if not items:
            return

        def on_step() -> bool:
            self._next_step()
            return all(item.is_abandoned for item in items)

        try:
            with self._timed_step(_tokens(items)):
                results = self._engine.generate([item.pixels for item in items], items[0].generation, on_step)
        except Exception as error:
            if len(items) == 1:
                _fail(items[0], error)
                return
            if not isinstance(error, InvalidGeneration):  # the client's fault
                log.exception("A batch of %d images failed: they are tried again one by one", len(items))
            for item in items:
                self._generate([item])
        else:
            for item, result in zip(items, results, strict=True):
                self._finish(item, lambda result=result: result)  # type: ignore[misc]

    @contextmanager
    def _timed_step(self, work: int) -> Iterator[None]:
        self._before_step()
        self._stall_detector.begin(work)
        try:
            yield
        finally:
            self._stall_detector.end()

    def _next_step(self) -> None:
        self._stall_detector.step()
        self._before_step()

    def _join(self, items: Sequence[WorkItem]) -> None:
        """Start searches for items. If it fails, start them one at a time, so that a bad one fails alone."""
        try:
            first = items[: self._engine.images_per_encoder_call(items[0].pixels)]
            with self._timed_step(_tokens(first)):
                searches = self._add(items)
        except Exception as error:
            if len(items) == 1:
                _fail(items[0], error)
            else:
                for item in items:
                    self._join([item])
        else:
            self.running.update(zip(searches, items, strict=True))

    def _add(self, items: Sequence[WorkItem]) -> Sequence[Any]:
        pixels, generations = [item.pixels for item in items], [item.generation for item in items]
        return self._engine.add(pixels, generations, self._next_step)

    def drop_abandoned(self) -> bool:
        """Remove the searches of abandoned items. Return whether there were any."""
        abandoned = [search for search, item in self.running.items() if item.is_abandoned]
        for search in abandoned:
            self._engine.drop(search)
            del self.running[search]
        return bool(abandoned)

    def step(self) -> None:
        """Generate one more token for each search. If it fails, rerun each item by itself: a bad one fails alone."""
        self.steps += 1
        self.steps_of_images += len(self.running)
        try:
            with self._timed_step(_tokens(self.running.values())):
                done = self._engine.step()
        except Exception:
            log.exception("A batch of %d images failed: they are tried again one by one", len(self.running))
            items = list(self.running.values())
            self.running.clear()
            self._engine.clear()
            for item in items:
                if not item.is_abandoned:
                    self._finish(item, lambda item=item: self._run_alone(item))  # type: ignore[misc]
        else:
            for search in done:
                self._finish(self.running.pop(search), lambda search=search: search.results)  # type: ignore[misc]
            for search, item in self.running.items():
                if item.on_text is not None:
                    self._send_text(search, item)

    def _send_text(self, search: Any, item: WorkItem) -> None:
        """Call `on_text` with the words that are final. If it fails, the client gets the text only at the end."""
        try:
            if item.on_text is not None and (text := self._engine.text_so_far(search)):
                item.on_text(text)
        except Exception:
            log.exception("The text of an unfinished caption could not be sent")
            item.on_text = None

    def _run_alone(self, item: WorkItem) -> Any:
        try:
            with self._timed_step(_tokens([item])):
                (search,) = self._add([item])
                while not self._engine.step():
                    self._next_step()
                    if item.is_abandoned:
                        raise ClientLeft(CLIENT_LEFT)
        finally:
            self._engine.clear()
        return search.results

    def _finish(self, item: WorkItem, get_results: Callable[[], Any]) -> None:
        """Set the item's captions, or the error that making them raised."""
        try:
            captions = self._engine.to_captions(get_results(), item.generation)
            if len(captions) != item.generation.num_return_sequences:
                raise RuntimeError(f"{len(captions)} captions came out, not {item.generation.num_return_sequences}")
        except Exception as error:
            _fail(item, error)
        else:
            item.future.set_result(captions)
            metrics.current.count_image(item.is_fast, sum(caption.tokens for caption in captions))


def _tokens(items: Collection[WorkItem]) -> int:
    """Return the most tokens of a step: those of the prefill, which takes whole prompts."""
    return sum(item.generation.rows * len(item.generation.prompt_ids) for item in items)


def record_batch(items: Collection[WorkItem]) -> None:
    """Record the batch size, in the metrics and in each item."""
    metrics.current.batch.observe(len(items))
    for item in items:
        item.batch_size = len(items)


def _compatible(items: Sequence[WorkItem]) -> Iterator[list[WorkItem]]:
    """Group items that one call of `generate` can take: those with the same generation."""
    groups: dict[Generation, list[WorkItem]] = {}
    for item in items:
        if item.generation.is_alone:
            yield [item]
        else:
            groups.setdefault(item.generation, []).append(item)
    yield from groups.values()


def _fail(item: WorkItem, error: Exception) -> None:
    if not isinstance(error, FlaskappError):
        log.error("An image could not be captioned", exc_info=error)
        failed = CaptionFailed("the model failed at this image")
        failed.__cause__ = error.with_traceback(None)  # its frames hold tensors
        error = failed
    item.future.set_exception(error)
