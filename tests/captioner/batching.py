"""How the tests of the batcher ask it, and wait for it."""

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
    """Until so many jobs wait. `_submit` notifies the condition that this waits for."""
    with batcher._changed:
        assert batcher._changed.wait_for(lambda: len(batcher._waiting) + len(batcher._background) == count, 30)


def teach(batcher: Batcher, seconds: float) -> None:
    """Make it believe that one image of SETTINGS takes so long on one core, and that no batch runs."""
    batcher.lanes[0].pace.discard()
    batcher.lanes[0].pace._measured.append(seconds / work_of([SETTINGS]))


def hold(pool: ThreadPoolExecutor, batcher: Batcher, engine: StandIn, **options: Any) -> Future[list[list[str]]]:
    """Send one word and return when the engine is in the middle of its first step."""
    first = ask(pool, batcher, "first", **options)
    assert engine.has_begun.wait(30)
    return first
