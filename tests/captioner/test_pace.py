"""Estimates of seconds from measured batches."""

import time
from collections.abc import Callable

import pytest

from flaskapp.captioner.admission import Pace, work_of
from flaskapp.captioner.generation import Generation


@pytest.fixture
def set_clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Return a function that sets the clock, in seconds."""
    return lambda seconds: monkeypatch.setattr(time, "monotonic", lambda: seconds)


def test_work_grows_with_beams_tokens_and_images() -> None:
    base = Generation(num_beams=4, max_length=16)
    assert work_of([base]) < work_of([Generation(num_beams=8, max_length=16)])
    assert work_of([base]) < work_of([Generation(num_beams=4, max_length=32)])
    assert work_of([base, base]) == 2 * work_of([base])


def run_batches(pace: Pace, set_clock: Callable[[float], None], *seconds: float, cores: int = 1) -> None:
    """Run batches of 100 units with these durations, after an uncounted one. The clock ends at 0."""
    for each in (1000.0, *seconds):
        set_clock(-each)
        pace.begin(100)
        set_clock(0)
        pace.end(cores)


def test_there_is_no_estimate_before_the_first_batch(set_clock: Callable[[float], None]) -> None:
    pace = Pace()
    run_batches(pace, set_clock)
    pace.begin(100)
    set_clock(10)
    assert not pace.is_known
    assert pace.estimate(100, 1) == 0


def test_the_estimate_scales_with_work_and_cores(set_clock: Callable[[float], None]) -> None:
    pace = Pace()
    run_batches(pace, set_clock, 10, cores=2)
    assert pace.is_known
    assert pace.estimate(100, 2) == pytest.approx(10)
    assert pace.estimate(100, 1) == pytest.approx(20)


def test_an_estimate_includes_the_rest_of_the_running_batch(set_clock: Callable[[float], None]) -> None:
    pace = Pace()
    run_batches(pace, set_clock, 10)
    pace.begin(100)
    set_clock(4)
    assert pace.estimate(50, 1) == pytest.approx(6 + 5)
    set_clock(1000)
    assert pace.estimate(50, 1) == pytest.approx(5)


def test_work_that_joins_a_batch_counts_in_it(set_clock: Callable[[float], None]) -> None:
    pace = Pace()
    run_batches(pace, set_clock, 10)
    pace.begin(40)
    pace.add(60)
    assert pace.estimate(50, 1) == pytest.approx(10 + 5)


def test_an_abandoned_batch_is_not_measured(set_clock: Callable[[float], None]) -> None:
    pace = Pace()
    run_batches(pace, set_clock)
    pace.begin(100)
    pace.discard()
    pace.end(1)
    assert not pace.is_known


def test_one_slow_batch_is_ignored_and_many_are_not(set_clock: Callable[[float], None]) -> None:
    pace = Pace()
    run_batches(pace, set_clock, 10, 10, 500)
    assert pace.estimate(100, 1) == pytest.approx(10)
    run_batches(pace, set_clock, 20, 20, 20)
    assert pace.estimate(100, 1) == pytest.approx(20)
