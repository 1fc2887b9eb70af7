"""Helpers of the batcher's tests."""

from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from flaskapp.captioner.admission import work_of
from flaskapp.captioner.batcher import Batcher
from flaskapp.captioner.generation import Caption, Generation
from tests.captioner.stand_in import StandIn

SETTINGS = Generation(max_length=4, num_beams=8)
FALLBACK = Generation(fallback="there is no description of it")


def ask(pool: ThreadPoolExecutor, batcher: Batcher, *words: str, **options: Any) -> Future[list[list[str]]]:
    generation, deadline = options.get("generation", SETTINGS), options.get("deadline", 30.0)
    return pool.submit(lambda: texts(batcher.caption(words, generation, deadline)))


def texts(captions: list[list[Caption]]) -> list[list[str]]:
    return [[caption.text for caption in each] for each in captions]


def wait_until_waiting(batcher: Batcher, count: int) -> None:
    """Wait until `count` requests wait. `_submit` notifies the condition."""
    with batcher._changed:
        assert batcher._changed.wait_for(lambda: len(batcher._waiting) + len(batcher._background) == count, 30)


def set_measured_seconds(batcher: Batcher, seconds: float) -> None:
    """Set the measured seconds of one image of SETTINGS on one core, with no batch running."""
    batcher.lanes[0].pace.discard()
    batcher.lanes[0].pace._measured.append(seconds / work_of([SETTINGS]))


def hold(pool: ThreadPoolExecutor, batcher: Batcher, engine: StandIn, **options: Any) -> Future[list[list[str]]]:
    """Submit one word and return when the engine is in its first step."""
    first = ask(pool, batcher, "first", **options)
    assert engine.has_begun.wait(30)
    return first
