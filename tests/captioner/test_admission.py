"""Admission control by the length of the queue and by the deadline."""

from collections.abc import Callable

import pytest

from flaskapp.captioner.admission import Admission, Pace, work_of
from flaskapp.captioner.generation import Generation
from flaskapp.errors import TooBusy

ONE = [Generation()]
SetSeconds = Callable[[float], None]


@pytest.fixture
def pace() -> Pace:
    return Pace()


@pytest.fixture
def admission(pace: Pace) -> Admission:
    return Admission(pace, max_batch=2, max_waiting=4)


@pytest.fixture
def set_measured_seconds(pace: Pace) -> SetSeconds:
    """Return a function that sets the measured seconds of an image of ONE on one core."""
    return lambda seconds: pace._measured.append(seconds / work_of(ONE))


def test_before_the_first_measurement_at_most_one_batch_may_wait(admission: Admission) -> None:
    admission.check(ONE, ONE, cores=1, deadline=30)
    with pytest.raises(TooBusy, match="too many") as caught:
        admission.check(ONE, ONE * 2, cores=1, deadline=30)
    assert caught.value.retry_after == 1


def test_after_a_measurement_the_queue_may_fill(admission: Admission, set_measured_seconds: SetSeconds) -> None:
    set_measured_seconds(2.0)
    admission.check(ONE, ONE * 3, cores=1, deadline=30)
    with pytest.raises(TooBusy, match="too many") as caught:
        admission.check(ONE, ONE * 4, cores=1, deadline=30)
    assert caught.value.retry_after == 11, "one second after all five images"


def test_a_request_that_would_miss_its_deadline_is_refused_with_a_retry_after(
    admission: Admission, set_measured_seconds: SetSeconds
) -> None:
    set_measured_seconds(20.0)
    admission.check(ONE, ONE, cores=2, deadline=30)
    with pytest.raises(TooBusy, match="in time") as caught:
        admission.check(ONE, ONE * 2, cores=2, deadline=30)
    assert caught.value.retry_after == 9, "the seconds beyond 70% of the deadline"
    with pytest.raises(TooBusy, match="in time"):
        admission.check(ONE, ONE, cores=1, deadline=30)


def test_a_request_without_a_deadline_is_never_refused(admission: Admission, set_measured_seconds: SetSeconds) -> None:
    admission.check(ONE * 100, ONE * 100, cores=1, deadline=float("inf"))
    set_measured_seconds(20.0)
    admission.check(ONE * 100, ONE * 100, cores=1, deadline=float("inf"))
