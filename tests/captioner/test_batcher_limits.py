"""Requests that the batcher refuses or abandons, with a stand-in engine."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from flaskapp import metrics
from flaskapp.captioner.batcher import Batcher
from flaskapp.errors import (
    ClientLeft,
    DeadlineExceeded,
    TooBusy,
)
from flaskapp.sized_iterable import SizedIterable
from tests.captioner.batching import FALLBACK, SETTINGS, ask, hold, set_measured_seconds, texts, wait_until_waiting
from tests.captioner.stand_in import StandIn


def test_requests_beyond_the_queue_limit_are_refused_immediately(
    make: Callable[..., Batcher], engine: StandIn, pool: ThreadPoolExecutor
) -> None:
    batcher = make(max_waiting=2)
    first = hold(pool, batcher, engine)
    with pytest.raises(TooBusy) as caught:
        batcher.caption(["a", "b", "c"], SETTINGS, 30)
    assert caught.value.retry_after > 0
    fitting = ask(pool, batcher, "a", "b")
    wait_until_waiting(batcher, 2)
    with pytest.raises(TooBusy):
        batcher.caption(["c"], SETTINGS, 30)
    engine.gate.set()
    assert first.result(30) == [["first"]]
    assert fitting.result(30) == [["a"], ["b"]]


def test_an_idle_batcher_refuses_no_request(make: Callable[..., Batcher], engine: StandIn) -> None:
    engine.gate.set()
    batcher = make()
    set_measured_seconds(batcher, seconds=1000)
    assert texts(batcher.caption(["a"], SETTINGS, 30)) == [["a"]]


def test_a_request_larger_than_the_queue_limit_is_accepted_by_an_idle_batcher(
    make: Callable[..., Batcher], engine: StandIn
) -> None:
    engine.gate.set()
    words = [str(number) for number in range(5)]
    assert texts(make(max_batch=2, max_waiting=2).caption(words, SETTINGS, 30)) == [[word] for word in words]


def test_the_metrics_show_how_long_the_oldest_request_has_waited(
    make: Callable[..., Batcher], engine: StandIn, pool: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting: list[tuple[int, float | None]] = []
    monkeypatch.setattr(metrics.current, "set_waiting", lambda *values: waiting.append(values))
    batcher = make()
    running = hold(pool, batcher, engine)
    began = time.perf_counter()
    answers = [ask(pool, batcher, "of a job", deadline=float("inf"))]
    wait_until_waiting(batcher, 1)
    assert waiting[-1] == (1, None), "images without a deadline have no waiting time"
    answers.append(ask(pool, batcher, "second"))
    wait_until_waiting(batcher, 2)
    images, since = waiting[-1]
    assert images == 2
    assert since is not None
    assert began < since < time.perf_counter()
    answers.append(ask(pool, batcher, "third"))
    wait_until_waiting(batcher, 3)
    assert waiting[-1] == (3, since)
    engine.gate.set()
    for answer in (running, *answers):
        answer.result(30)
    assert waiting[-1] == (0, None)


def test_a_request_of_a_disconnected_client_is_dropped_before_it_starts(
    make: Callable[..., Batcher], engine: StandIn, pool: ThreadPoolExecutor
) -> None:
    batcher = make()
    first = hold(pool, batcher, engine)
    with pytest.raises(ClientLeft):
        batcher.caption(["abandoned"], SETTINGS, 30, has_left=lambda: True)
    engine.gate.set()
    assert first.result(30) == [["first"]]
    assert not any("abandoned" in batch for batch in engine.batches)


def test_a_request_whose_deadline_passes_in_the_queue_is_dropped(
    make: Callable[..., Batcher], engine: StandIn, pool: ThreadPoolExecutor
) -> None:
    batcher = make()
    first = hold(pool, batcher, engine)
    with pytest.raises(DeadlineExceeded, match=r"within 0\.01 seconds"):
        batcher.caption(["late"], SETTINGS, 0.01)
    engine.gate.set()
    assert first.result(30) == [["first"]]
    assert not any("late" in batch for batch in engine.batches)


def test_an_image_whose_deadline_passes_while_running_is_dropped_from_the_batch(
    make: Callable[..., Batcher], engine: StandIn, pool: ThreadPoolExecutor
) -> None:
    batcher = make()
    given_up = ask(pool, batcher, "late", deadline=0.01)
    assert engine.has_begun.wait(30)
    neighbour = ask(pool, batcher, "neighbour")
    wait_until_waiting(batcher, 1)
    with pytest.raises(DeadlineExceeded):
        given_up.result(30)
    engine.gate.set()
    assert neighbour.result(30) == [["neighbour"]]
    assert engine.batches == [["late"], *[["neighbour"]] * 4]


def test_generate_stops_at_the_deadline_and_skips_the_request_s_other_images(
    make: Callable[..., Batcher], engine: StandIn
) -> None:
    batcher = make()
    with pytest.raises(DeadlineExceeded):
        batcher.caption(["endless", "endless"], FALLBACK, 0.05)
    engine.gate.set()
    assert texts(batcher.caption(["word"], SETTINGS, 30)) == [["word"]]


def test_a_request_that_decodes_too_slowly_is_dropped_and_frees_its_places(
    make: Callable[..., Batcher], engine: StandIn
) -> None:
    batcher = make(max_waiting=2)

    def decode() -> Iterator[str]:
        yield "first"
        threading.Event().wait(0.05)
        yield "second"

    with pytest.raises(DeadlineExceeded):
        batcher.caption(SizedIterable(2, decode), SETTINGS, 0.01)
    engine.gate.set()
    assert texts(batcher.caption(["a", "b"], SETTINGS, 30)) == [["a"], ["b"]]
    assert not any("first" in batch for batch in engine.batches)


def test_dropped_requests_take_no_places(
    make: Callable[..., Batcher], engine: StandIn, pool: ThreadPoolExecutor
) -> None:
    batcher = make(max_waiting=1)
    first = hold(pool, batcher, engine)
    for _ in range(3):
        with pytest.raises(DeadlineExceeded):
            batcher.caption(["late"], SETTINGS, 0.01)
    engine.gate.set()
    assert first.result(30) == [["first"]]
