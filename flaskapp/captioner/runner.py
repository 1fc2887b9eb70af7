"""Images on the engine, in the thread that owns it: by a search, or by `generate`. A bad image fails alone."""

import logging
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from flaskapp import metrics
from flaskapp.captioner.generation import Generation
from flaskapp.captioner.progress import Progress
from flaskapp.captioner.protocol import Engine
from flaskapp.captioner.work_item import WorkItem
from flaskapp.errors import CaptionFailed, ClientLeft, FlaskappError

log = logging.getLogger(__name__)

LEFT = "the client disconnected"


class Runner:
    """`running` are the items whose searches have begun; those of `generate` are done when `start` returns."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._progress = Progress()
        self.running: dict[Any, WorkItem] = {}  # by their searches
        self.steps = 0  # steps that were run, and how many images took part in all of them together
        self.steps_of_images = 0

    @property
    def has_stalled(self) -> bool:
        """Whether the model has made no step for far longer than it ever took."""
        return self._progress.has_stalled

    def start(self, items: Sequence[WorkItem]) -> None:
        """Begin items: those for `generate` are run to their end, the others join the searches that are in step."""
        for group in _compatible([item for item in items if not is_fast(item)]):
            note_batch(group)
            self._generate(group)
        searching = [item for item in items if is_fast(item)]
        if searching:
            self._join(searching)

    def _generate(self, items: Sequence[WorkItem]) -> None:
        """By `generate`, a whole batch at once. If that fails, one at a time, so that a bad one fails alone."""
        items = [item for item in items if not item.is_abandoned]
        if not items:
            return

        def is_given_up() -> bool:
            self._progress.step()
            return all(item.is_abandoned for item in items)

        try:
            with self._making_progress(_tokens(items)):
                results = self._engine.generate([item.pixels for item in items], items[0].generation, is_given_up)
        except Exception as error:
            if len(items) == 1:
                _fail(items[0], error)
                return
            log.exception("A batch of %d images failed: they are tried again one by one", len(items))
            for item in items:
                self._generate([item])
        else:
            for item, result in zip(items, results, strict=True):
                self._finish(item, lambda result=result: result)  # type: ignore[misc]

    @contextmanager
    def _making_progress(self, work: int) -> Iterator[None]:
        self._progress.begin(work)
        try:
            yield
        finally:
            self._progress.end()

    def _join(self, items: Sequence[WorkItem]) -> None:
        """Add items to those that run. If that fails, one at a time, so that a bad one fails alone."""
        try:
            with self._making_progress(_tokens(items[:1])):  # images are encoded one by one
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
        return self._engine.add(pixels, generations, self._progress.step)

    def drop_abandoned(self) -> bool:
        """Forget the searches of items that were given up. Returns whether there were any."""
        abandoned = [search for search, item in self.running.items() if item.is_abandoned]
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
                    self._tell(search, item)

    def _tell(self, search: Any, item: WorkItem) -> None:
        """Give a item the words that are sure. Without them it has all at the end."""
        try:
            if item.on_text is not None and (text := self._engine.text_so_far(search)):
                item.on_text(text)
        except Exception:
            log.exception("The words of a caption could not be told as they came")
            item.on_text = None

    def _run_alone(self, item: WorkItem) -> Any:
        try:
            with self._making_progress(_tokens([item])):
                (search,) = self._add([item])
                while not self._engine.step():
                    self._progress.step()
                    if item.is_abandoned:
                        raise ClientLeft(LEFT)
        finally:
            self._engine.clear()
        return search.results

    def _finish(self, item: WorkItem, run: Callable[[], Any]) -> None:
        """Give a item its captions, or the error of making them."""
        try:
            captions = self._engine.to_captions(run(), item.generation)
            if len(captions) != item.generation.num_return_sequences:
                raise RuntimeError(f"{len(captions)} captions came out, not {item.generation.num_return_sequences}")
        except Exception as error:
            _fail(item, error)
        else:
            item.future.set_result(captions)
            metrics.current.count_image(is_fast(item), sum(caption.tokens for caption in captions))


def is_fast(item: WorkItem) -> bool:
    """Whether the fast decoder takes it; else `generate` does."""
    return item.generation.fallback is None


def _tokens(items: Collection[WorkItem]) -> int:
    """How many may go through the decoder in a step: at the first, those of the prompts."""
    return sum(item.generation.rows * len(item.generation.prompt_ids) for item in items)


def note_batch(items: Collection[WorkItem]) -> None:
    """These go through the model together."""
    metrics.current.batch.observe(len(items))
    for item in items:
        item.batch_size = len(items)


def _compatible(items: Sequence[WorkItem]) -> Iterator[list[WorkItem]]:
    """Groups that one call of `generate` can take: those with the same generation, in the order of their first."""
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
        error = CaptionFailed("the model failed at this image")
    item.future.set_exception(error)
