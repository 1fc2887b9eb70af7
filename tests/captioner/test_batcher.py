"""The batcher with a stand-in engine. No test depends on a clock."""

import math
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace

import pytest

from flaskapp.captioner.batcher import Batcher
from flaskapp.captioner.generation import Caption, Generation
from flaskapp.errors import (
    CaptionerUnavailable,
    CaptionFailed,
    InvalidGeneration,
)
from flaskapp.free_cores import FreeCores
from tests.captioner.batching import FALLBACK, SETTINGS, ask, hold, set_measured_seconds, texts, wait_until_waiting
from tests.captioner.stand_in import StandIn

Answer = Future[list[list[str]]]


def test_each_request_gets_its_captions_in_order(
    make: Callable[..., Batcher], engine: StandIn, pool: ThreadPoolExecutor
) -> None:
    engine.gate.set()
    batcher = make(max_batch=3, max_waiting=100)
    set_measured_seconds(batcher, seconds=0)
    requests = [tuple(f"{request}-{image}" for image in range(request)) for request in range(1, 9)]
    answers = [ask(pool, batcher, *words) for words in requests]
    assert [answer.result(30) for answer in answers] == [[[word] for word in words] for words in requests]
    assert max(len(batch) for batch in engine.batches) <= 3


def test_requests_that_arrive_while_a_batch_runs_form_the_next_one(
    make: Callable[..., Batcher], engine: StandIn, pool: ThreadPoolExecutor
) -> None:
    batcher = make()
    first = hold(pool, batcher, engine)
    others = [ask(pool, batcher, word) for word in ("second", "third")]
    wait_until_waiting(batcher, 2)
    engine.gate.set()
    assert [each.result(30) for each in (first, *others)] == [[["first"]], [["second"]], [["third"]]]
    assert [sorted(batch) for batch in engine.batches] == [["first"]] * 4 + [["second", "third"]] * 4
    assert (batcher.lanes[0].runner.steps, batcher.lanes[0].runner.steps_of_images) == (8, 12)


def test_the_text_of_a_single_image_is_streamed_and_of_several_is_not(
    make: Callable[..., Batcher], engine: StandIn
) -> None:
    engine.gate.set()
    batcher = make()
    streamed: list[str] = []
    ((caption,),) = batcher.caption(["word"], SETTINGS, 30, on_text=streamed.append)
    assert caption.text == "word"
    assert streamed == ["w", "wo", "wor"]
    batcher.caption(["first", "second"], SETTINGS, 30, on_text=streamed.append)
    assert streamed == ["w", "wo", "wor"]


def hold_encoding(pool: ThreadPoolExecutor, batcher: Batcher, engine: StandIn) -> tuple[Answer, threading.Event]:
    """Submit one word and return when the engine encodes it. Setting the event lets the engine continue."""
    is_encoding, may_go_on = threading.Event(), threading.Event()

    def encode() -> None:
        is_encoding.set()
        assert may_go_on.wait(30)

    engine.on_add = encode
    engine.gate.set()
    first = ask(pool, batcher, "first")
    assert is_encoding.wait(30)
    return first, may_go_on


def test_requests_that_arrive_during_encoding_join_the_batch(
    make: Callable[..., Batcher], engine: StandIn, pool: ThreadPoolExecutor
) -> None:
    batcher = make(max_batch=3)
    first, may_go_on = hold_encoding(pool, batcher, engine)
    others = [ask(pool, batcher, word) for word in ("second", "third", "fourth")]
    wait_until_waiting(batcher, 3)
    may_go_on.set()
    assert [each.result(30) for each in (first, *others)] == [[["first"]], [["second"]], [["third"]], [["fourth"]]]
    assert [len(batch) for batch in engine.batches] == [3] * 4 + [1] * 4
    assert "first" in engine.batches[0]


def test_a_fallback_request_waits_for_the_running_batch(
    make: Callable[..., Batcher], engine: StandIn, pool: ThreadPoolExecutor
) -> None:
    batcher = make()
    first, may_go_on = hold_encoding(pool, batcher, engine)
    generated = ask(pool, batcher, "generated", generation=FALLBACK)
    wait_until_waiting(batcher, 1)
    assert engine.generated == []
    may_go_on.set()
    assert [first.result(30), generated.result(30)] == [[["first"]], [["GENERATED"]]]
    assert len(engine.batches) == SETTINGS.max_length


def test_compatible_fallback_requests_form_one_batch(
    make: Callable[..., Batcher], engine: StandIn, pool: ThreadPoolExecutor
) -> None:
    batcher = make()
    _, may_go_on = hold_encoding(pool, batcher, engine)
    alone = replace(FALLBACK, is_alone=True)
    asked = [
        ask(pool, batcher, word, generation=generation)
        for word, generation in [
            ("a", FALLBACK),
            ("b", FALLBACK),
            ("c", replace(FALLBACK, num_beams=2)),
            ("d", alone),
            ("e", alone),
        ]
    ]
    wait_until_waiting(batcher, len(asked))
    may_go_on.set()
    assert [each.result(30) for each in asked] == [[["A"]], [["B"]], [["C"]], [["D"]], [["E"]]]
    assert sorted(map(sorted, engine.generated)) == [["a", "b"], ["c"], ["d"], ["e"]]


def test_an_image_that_fails_in_generate_fails_alone(
    make: Callable[..., Batcher], engine: StandIn, pool: ThreadPoolExecutor
) -> None:
    batcher = make()
    _, may_go_on = hold_encoding(pool, batcher, engine)
    good = ask(pool, batcher, "good", generation=FALLBACK)
    bad = ask(pool, batcher, "bad picture", generation=FALLBACK)
    wait_until_waiting(batcher, 2)
    may_go_on.set()
    assert good.result(30) == [["GOOD"]]
    with pytest.raises(CaptionFailed):
        bad.result(30)


@pytest.mark.parametrize("bad", ["bad picture", "bad step"])
def test_a_bad_image_fails_alone_without_internal_details(
    make: Callable[..., Batcher], engine: StandIn, pool: ThreadPoolExecutor, bad: str
) -> None:
    batcher = make()
    first = hold(pool, batcher, engine)
    answers = [ask(pool, batcher, word) for word in ("good", bad, "better")]
    wait_until_waiting(batcher, 3)
    engine.gate.set()
    with pytest.raises(CaptionFailed) as caught:
        answers[1].result(30)
    assert "secret" not in str(caught.value)
    assert [each.result(30) for each in (first, answers[0], answers[2])] == [[["first"]], [["good"]], [["better"]]]


def test_too_few_captions_from_the_engine_are_an_error(
    make: Callable[..., Batcher], engine: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine.gate.set()
    monkeypatch.setattr(engine, "to_captions", lambda *_: [Caption("one", (0,), 1)])
    with pytest.raises(CaptionFailed):
        make().caption(["word"], Generation(num_beams=2, num_return_sequences=2), 30)


def test_a_fallback_request_is_run_by_generate(make: Callable[..., Batcher], engine: StandIn) -> None:
    engine.gate.set()
    assert texts(make().caption(["word"], FALLBACK, 30)) == [["WORD"]]
    assert engine.batches == []


def test_a_setting_refused_by_the_engine_is_reported_to_the_client(
    make: Callable[..., Batcher], engine: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise InvalidGeneration("do_sample", "Not like this.")

    monkeypatch.setattr(engine, "generate", refuse)
    with pytest.raises(InvalidGeneration, match="Not like this"):
        make().caption(["word"], FALLBACK, 30)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_dead_batcher_thread_fails_waiting_requests_and_the_next_request_starts_a_new_one(
    make: Callable[..., Batcher], engine: StandIn, pool: ThreadPoolExecutor
) -> None:
    def die() -> None:
        raise SystemExit

    engine.on_step = die
    batcher = make(max_batch=1)
    running = hold(pool, batcher, engine)
    thread = batcher.lanes[0].thread
    assert thread is not None
    waiting = ask(pool, batcher, "waiting")
    wait_until_waiting(batcher, 1)
    engine.gate.set()
    for answer in (running, waiting):
        with pytest.raises(CaptionerUnavailable):
            answer.result(30)
    thread.join(30)  # so that this test captures its log
    engine.on_step = lambda: None
    engine.clear()
    assert texts(batcher.caption(["again"], SETTINGS, 30)) == [["again"]]


@pytest.mark.parametrize("free", [1, 2])
def test_a_single_batch_runs_on_the_cores_that_other_processes_leave_free(
    make: Callable[..., Batcher], engine: StandIn, pool: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch, free: int
) -> None:
    monkeypatch.setattr(FreeCores, "count", lambda _: free)
    running = hold(pool, make(), engine)
    assert engine.threads == free
    engine.gate.set()
    running.result(30)


@pytest.mark.parametrize("settings", [SETTINGS, FALLBACK], ids=["fast", "generate"])
def test_the_free_cores_are_counted_before_each_step(
    make: Callable[..., Batcher], engine: StandIn, monkeypatch: pytest.MonkeyPatch, settings: Generation
) -> None:
    free = iter([1, 2] * 100)
    used: list[int] = []
    monkeypatch.setattr(FreeCores, "count", lambda _: next(free))
    monkeypatch.setattr(engine, "use_threads", used.append)
    engine.gate.set()
    make().caption(["steps"], settings, 30)
    assert set(used) == {1, 2}


def test_images_without_a_deadline_run_last_and_in_part_of_a_batch_while_others_arrive(
    make: Callable[..., Batcher], engine: StandIn, pool: ThreadPoolExecutor
) -> None:
    batcher = make(max_batch=8)
    running = hold(pool, batcher, engine)
    patient = ask(pool, batcher, "p1", "p2", "p3", "p4", deadline=math.inf)
    wait_until_waiting(batcher, 4)
    others = ask(pool, batcher, "a", "b")
    wait_until_waiting(batcher, 6)
    engine.gate.set()
    for answer in (running, patient, others):
        answer.result(30)
    begun = [batch for batch, before in zip(engine.batches, [[], *engine.batches], strict=False) if batch != before]
    assert begun == [["first"], ["a", "b", "p1", "p2"], ["p3", "p4"]]


def test_images_without_a_deadline_fill_batches_while_nothing_else_arrives(
    make: Callable[..., Batcher], engine: StandIn, pool: ThreadPoolExecutor
) -> None:
    batcher = make(max_batch=4)
    running = hold(pool, batcher, engine, deadline=math.inf)
    patient = ask(pool, batcher, "p1", "p2", "p3", "p4", deadline=math.inf)
    wait_until_waiting(batcher, 4)
    engine.gate.set()
    running.result(30)
    patient.result(30)
    assert engine.batches[-1] == ["p1", "p2", "p3", "p4"]


def test_closing_finishes_waiting_requests(
    make: Callable[..., Batcher], engine: StandIn, pool: ThreadPoolExecutor
) -> None:
    batcher = make(max_batch=1)
    answers = [hold(pool, batcher, engine), ask(pool, batcher, "second")]
    wait_until_waiting(batcher, 1)
    closing = pool.submit(batcher.close)
    engine.gate.set()
    closing.result(30)
    assert [answer.result(30) for answer in answers] == [[["first"]], [["second"]]]
