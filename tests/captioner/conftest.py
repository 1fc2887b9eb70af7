"""Fixtures: batchers with a stand-in engine, stub hubs, and a single thread of torch."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from flaskapp.captioner.batcher import Batcher
from tests.captioner.stand_in import StandIn
from tests.captioner.stub_hub import StubHub
from tests.captioner.tiny import make_model, small_vit, write_like_the_hub


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Let torch use one thread: more are slower with tiny models, and while other tests use the cores."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def engine() -> StandIn:
    return StandIn()


@pytest.fixture
def make(engine: StandIn) -> Iterator[Callable[..., Batcher]]:
    batchers = []

    def make(max_batch: int = 8, max_waiting: int = 8) -> Batcher:
        batchers.append(Batcher(engine, cores=2, max_batch=max_batch, max_waiting=max_waiting))
        return batchers[-1]

    yield make
    engine.gate.set()
    for batcher in batchers:
        batcher.close()


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(16) as pool:
        yield pool


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Return a folder with the default model's files, but a small model."""
    folder = write_like_the_hub(tmp_path / "repository", make_model(small_vit()))
    (folder / "README.md").write_text("not needed")
    return folder


@pytest.fixture
def start_hub() -> Iterator[Callable[..., StubHub]]:
    hubs = []

    def start(folder: Path, **options: object) -> StubHub:
        hubs.append(StubHub(folder, **options))  # type: ignore[arg-type]
        return hubs[-1]

    yield start
    for hub in hubs:
        hub.close()


@pytest.fixture
def hub(start_hub: Callable[..., StubHub], repository: Path) -> StubHub:
    return start_hub(repository)
