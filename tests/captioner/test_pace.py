"""What a batch teaches about the next ones."""

import time
from collections.abc import Callable

import pytest

from flaskapp.captioner.admission import Pace, work_of
from flaskapp.captioner.generation import Generation


@pytest.fixture
def set_clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Sets what the clock says, in seconds."""
    return lambda seconds: monkeypatch.setattr(time, "monotonic", lambda: seconds)


def test_more_beams_more_tokens_and_more_images_are_more_work() -> None:
    base = Generation(num_beams=4, max_length=16)
    assert work_of([base]) < work_of([Generation(num_beams=8, max_length=16)])
    assert work_of([base]) < work_of([Generation(num_beams=4, max_length=32)])
    assert work_of([base, base]) == 2 * work_of([base])


def learn(pace: Pace, set_clock: Callable[[float], None], *seconds: float, cores: int = 1) -> None:
    """Batches of 100 units that take so long, after one that does not count. The clock is at 0 in the end."""
    for each in (1000.0, *seconds):
        set_clock(-each)
        pace.begin(100)
        set_clock(0)
        pace.end(cores)


def test_nothing_is_known_before_a_batch_is_done(set_clock: Callable[[float], None]) -> None:
    pace = Pace()
    learn(pace, set_clock)
    pace.begin(100)
    set_clock(10)
    assert not pace.is_known
    assert pace.estimate(100, 1) == 0


def test_as_much_work_on_as_many_cores_takes_as_long(set_clock: Callable[[float], None]) -> None:
    pace = Pace()
    learn(pace, set_clock, 10, cores=2)
    assert pace.is_known
    assert pace.estimate(100, 2) == pytest.approx(10)
    assert pace.estimate(100, 1) == pytest.approx(20)


def test_what_is_left_of_the_batch_that_runs_comes_first(set_clock: Callable[[float], None]) -> None:
    pace = Pace()
    learn(pace, set_clock, 10)
    pace.begin(100)
    set_clock(4)
    assert pace.estimate(50, 1) == pytest.approx(6 + 5)
    set_clock(1000)
    assert pace.estimate(50, 1) == pytest.approx(5)


def test_work_that_joins_a_batch_counts_to_it(set_clock: Callable[[float], None]) -> None:
    pace = Pace()
    learn(pace, set_clock, 10)
    pace.begin(40)
    pace.add(60)
    assert pace.estimate(50, 1) == pytest.approx(10 + 5)


def test_a_batch_that_was_given_up_teaches_nothing(set_clock: Callable[[float], None]) -> None:
    pace = Pace()
    learn(pace, set_clock)
    pace.begin(100)
    pace.discard()
    pace.end(1)
    assert not pace.is_known


def test_one_batch_that_took_long_does_not_count_and_many_do(set_clock: Callable[[float], None]) -> None:
    pace = Pace()
    learn(pace, set_clock, 10, 10, 500)
    assert pace.estimate(100, 1) == pytest.approx(10)
    learn(pace, set_clock, 20, 20, 20)
    assert pace.estimate(100, 1) == pytest.approx(20)
