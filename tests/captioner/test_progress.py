import pytest

from flaskapp.captioner import progress
from flaskapp.captioner.progress import LEAST, SLACK, Progress


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time in seconds, the last of the list."""
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[-1])
    return now


def test_a_step_that_takes_far_longer_than_any_did_is_a_standstill(clock: list[float]) -> None:
    steps = Progress()
    assert not steps.has_stalled
    steps.begin(1)
    clock.append(3.0)
    steps.step()  # the longest so far: 3 s
    clock.append(3.0 + SLACK * 3.0)
    assert not steps.has_stalled
    clock.append(clock[-1] + 0.1)
    assert steps.has_stalled
    steps.end()
    assert not steps.has_stalled


def test_more_work_may_take_more_time(clock: list[float]) -> None:
    steps = Progress()
    steps.begin(1)
    clock.append(2.0)
    steps.end()
    steps.begin(4)
    clock.append(2.0 + 4 * SLACK * 2.0)
    assert not steps.has_stalled


def test_seconds_are_no_standstill_however_short_the_steps_were(clock: list[float]) -> None:
    steps = Progress()
    steps.begin(1)
    clock.append(0.001)
    steps.step()
    clock.append(0.001 + LEAST)
    assert not steps.has_stalled
    clock.append(0.01 + LEAST)
    assert steps.has_stalled


def test_an_idle_model_has_not_stalled(clock: list[float]) -> None:
    steps = Progress()
    steps.begin(1)
    steps.end()
    clock.append(1e6)
    assert not steps.has_stalled


def test_of_the_first_step_nothing_is_known(clock: list[float]) -> None:
    steps = Progress()
    steps.begin(1)
    clock.append(600.0)
    assert not steps.has_stalled
    steps.step()
    clock.append(600.0 + SLACK * 600.0 + 1)
    assert steps.has_stalled
