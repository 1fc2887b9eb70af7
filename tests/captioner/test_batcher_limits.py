"""Whom the batcher refuses, and what it gives up. With a stand-in engine; no clock decides anything."""

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
from tests.captioner.batching import FALLBACK, SETTINGS, ask, hold, teach, texts, wait_until_waiting
from tests.captioner.stand_in import StandIn


def test_more_than_may_wait_are_refused_at_once_and_the_others_are_not(
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


def test_nobody_is_refused_while_there_is_nothing_to_do(make: Callable[..., Batcher], engine: StandIn) -> None:
    engine.gate.set()
    batcher = make()
    teach(batcher, seconds=1000)
    assert texts(batcher.caption(["a"], SETTINGS, 30)) == [["a"]]


def test_who_comes_while_nobody_waits_may_bring_more_than_may_wait(
    make: Callable[..., Batcher], engine: StandIn
) -> None:
    engine.gate.set()
    words = [str(number) for number in range(5)]
    assert texts(make(max_batch=2, max_waiting=2).caption(words, SETTINGS, 30)) == [[word] for word in words]


def test_the_metrics_show_since_when_the_first_request_in_the_queue_waits(
    make: Callable[..., Batcher], engine: StandIn, pool: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[tuple[int, float | None]] = []
    monkeypatch.setattr(metrics.current, "set_waiting", lambda *told_of: told.append(told_of))
    batcher = make()
    running = hold(pool, batcher, engine)
    began = time.perf_counter()
    answers = [ask(pool, batcher, "of a job", deadline=float("inf"))]
    wait_until_waiting(batcher, 1)
    assert told[-1] == (1, None), "images of caption jobs may wait"
    answers.append(ask(pool, batcher, "second"))
    wait_until_waiting(batcher, 2)
    images, since = told[-1]
    assert images == 2
    assert since is not None
    assert began < since < time.perf_counter()
    answers.append(ask(pool, batcher, "third"))
    wait_until_waiting(batcher, 3)
    assert told[-1] == (3, since)
    engine.gate.set()
    for answer in (running, *answers):
        answer.result(30)
    assert told[-1] == (0, None)


def test_what_nobody_waits_for_any_more_is_dropped_before_it_starts(
    make: Callable[..., Batcher], engine: StandIn, pool: ThreadPoolExecutor
) -> None:
    batcher = make()
    first = hold(pool, batcher, engine)
    with pytest.raises(ClientLeft):
        batcher.caption(["abandoned"], SETTINGS, 30, has_left=lambda: True)
    engine.gate.set()
    assert first.result(30) == [["first"]]
    assert not any("abandoned" in batch for batch in engine.batches)


def test_a_deadline_that_passes_while_waiting_drops_the_work_before_it_starts(
    make: Callable[..., Batcher], engine: StandIn, pool: ThreadPoolExecutor
) -> None:
    batcher = make()
    first = hold(pool, batcher, engine)
    with pytest.raises(DeadlineExceeded, match=r"within 0\.01 seconds"):
        batcher.caption(["late"], SETTINGS, 0.01)
    engine.gate.set()
    assert first.result(30) == [["first"]]
    assert not any("late" in batch for batch in engine.batches)


def test_a_deadline_that_passes_while_running_frees_the_place_and_its_neighbours_go_on(
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


def test_what_is_generated_for_nobody_breaks_off_and_the_rest_of_its_request_is_not_begun(
    make: Callable[..., Batcher], engine: StandIn
) -> None:
    batcher = make()
    with pytest.raises(DeadlineExceeded):
        batcher.caption(["endless", "endless"], FALLBACK, 0.05)
    engine.gate.set()
    assert texts(batcher.caption(["word"], SETTINGS, 30)) == [["word"]]


def test_what_takes_too_long_to_decode_is_given_up_and_holds_no_place(
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


def test_those_that_were_given_up_take_no_place(
    make: Callable[..., Batcher], engine: StandIn, pool: ThreadPoolExecutor
) -> None:
    batcher = make(max_waiting=1)
    first = hold(pool, batcher, engine)
    for _ in range(3):
        with pytest.raises(DeadlineExceeded):
            batcher.caption(["late"], SETTINGS, 0.01)
    engine.gate.set()
    assert first.result(30) == [["first"]]
