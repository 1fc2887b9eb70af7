"""What a batch teaches about the next ones."""

import time
from collections.abc import Callable

import pytest

from flaskapp.captioner import GenerationSettings
from flaskapp.captioner.pace import Pace, work_of


@pytest.fixture
def set_clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Sets what the clock says, in seconds."""
    return lambda seconds: monkeypatch.setattr(time, "monotonic", lambda: seconds)


def test_more_beams_more_tokens_and_more_images_are_more_work() -> None:
    base = GenerationSettings(num_beams=4, max_length=16)
    assert work_of([base]) < work_of([GenerationSettings(num_beams=8, max_length=16)])
    assert work_of([base]) < work_of([GenerationSettings(num_beams=4, max_length=32)])
    assert work_of([base, base]) == 2 * work_of([base])


def test_nothing_is_known_before_a_batch_is_done(set_clock: Callable[[float], None]) -> None:
    pace = Pace()
    set_clock(0)
    pace.begin(100)
    set_clock(10)
    assert not pace.is_known
    assert pace.estimate(100, 1) == 0


def test_as_much_work_on_as_many_cores_takes_as_long(set_clock: Callable[[float], None]) -> None:
    pace = Pace()
    set_clock(0)
    pace.begin(100)
    set_clock(10)
    pace.end(2)
    assert pace.estimate(100, 2) == pytest.approx(10)
    assert pace.estimate(100, 1) == pytest.approx(20)


def test_what_is_left_of_the_batch_that_runs_comes_first(set_clock: Callable[[float], None]) -> None:
    pace = Pace()
    set_clock(0)
    pace.begin(100)
    set_clock(10)
    pace.end(1)
    pace.begin(100)
    set_clock(14)
    assert pace.estimate(50, 1) == pytest.approx(6 + 5)
    set_clock(1000)
    assert pace.estimate(50, 1) == pytest.approx(5)


def test_a_batch_that_was_given_up_teaches_nothing(set_clock: Callable[[float], None]) -> None:
    pace = Pace()
    set_clock(0)
    pace.begin(100)
    pace.give_up()
    set_clock(10)
    pace.end(1)
    assert not pace.is_known


def test_what_was_learnt_follows_what_changes(set_clock: Callable[[float], None]) -> None:
    pace = Pace()
    now = 0.0
    for seconds in [10.0] + [20.0] * 10:
        set_clock(now)
        pace.begin(100)
        now += seconds
        set_clock(now)
        pace.end(1)
    assert pace.estimate(100, 1) == pytest.approx(20, rel=0.01)
