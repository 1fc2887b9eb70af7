import pytest

from flaskapp.captioner import runner
from flaskapp.captioner.runner import MIN_STALL, STALL_FACTOR, Runner, StallDetector
from flaskapp.captioner.work_item import WorkItem
from tests.captioner.batching import SETTINGS
from tests.captioner.stand_in import StandIn


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Return a list whose last element is the time in seconds."""
    now = [0.0]
    monkeypatch.setattr(runner.time, "monotonic", lambda: now[-1])
    return now


def test_a_step_far_longer_than_any_before_is_a_stall(clock: list[float]) -> None:
    steps = StallDetector()
    assert not steps.has_stalled
    steps.begin(1)
    clock.append(3.0)
    steps.step()  # the longest so far, 3 s
    clock.append(3.0 + STALL_FACTOR * 3.0)
    assert not steps.has_stalled
    clock.append(clock[-1] + 0.1)
    assert steps.has_stalled
    steps.end()
    assert not steps.has_stalled


def test_a_larger_batch_may_take_longer(clock: list[float]) -> None:
    steps = StallDetector()
    steps.begin(1)
    clock.append(2.0)
    steps.end()
    steps.begin(4)
    clock.append(2.0 + 4 * STALL_FACTOR * 2.0)
    assert not steps.has_stalled


def test_a_few_seconds_are_no_stall_however_short_the_steps_were(clock: list[float]) -> None:
    steps = StallDetector()
    steps.begin(1)
    clock.append(0.001)
    steps.step()
    clock.append(0.001 + MIN_STALL)
    assert not steps.has_stalled
    clock.append(0.01 + MIN_STALL)
    assert steps.has_stalled


@pytest.mark.parametrize(("images_per_call", "tokens"), [(1, 8), (3, 24), (9, 32)])
def test_an_encoder_call_is_timed_for_the_images_that_it_encodes(
    images_per_call: int, tokens: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of the four images has 8 beams."""
    works: list[int] = []
    monkeypatch.setattr(StallDetector, "begin", lambda _, work: works.append(work))
    runner = Runner(StandIn(images_per_call=images_per_call))
    runner.start([WorkItem(word, SETTINGS) for word in "abcd"])
    assert works == [tokens]


def test_an_idle_model_has_not_stalled(clock: list[float]) -> None:
    steps = StallDetector()
    steps.begin(1)
    steps.end()
    clock.append(1e6)
    assert not steps.has_stalled


def test_the_first_step_is_no_stall(clock: list[float]) -> None:
    steps = StallDetector()
    steps.begin(1)
    clock.append(600.0)
    assert not steps.has_stalled
    steps.step()
    clock.append(600.0 + STALL_FACTOR * 600.0 + 1)
    assert steps.has_stalled
