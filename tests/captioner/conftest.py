"""Batchers with a stand-in engine that stops, fails and counts as each test needs it."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from flaskapp.captioner.batcher import Batcher
from flaskapp.captioner.cores import Cores
from tests.captioner.stand_in import StandIn


@pytest.fixture
def engine() -> StandIn:
    return StandIn()


@pytest.fixture
def make(engine: StandIn) -> Iterator[Callable[..., Batcher]]:
    batchers = []

    def make(max_batch: int = 8, max_waiting: int = 8, on_death: Callable[[], None] = lambda: None) -> Batcher:
        batchers.append(Batcher(engine, Cores(2), max_batch=max_batch, max_waiting=max_waiting, on_death=on_death))
        return batchers[-1]

    yield make
    engine.gate.set()
    for batcher in batchers:
        batcher.close()


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(16) as pool:
        yield pool
