"""Admission control: by room in the queue, and by the time until the deadline."""

from collections.abc import Callable

import pytest

from flaskapp.captioner.admission import Admission, Pace, work_of
from flaskapp.captioner.generation import Generation
from flaskapp.errors import TooBusy

ONE = [Generation()]
Teach = Callable[[float], None]


@pytest.fixture
def pace() -> Pace:
    return Pace()


@pytest.fixture
def admission(pace: Pace) -> Admission:
    return Admission(pace, max_batch=2, max_waiting=4)


@pytest.fixture
def teach(pace: Pace) -> Teach:
    """Make it believe that an image of ONE takes so many seconds on one core."""
    return lambda seconds: pace._measured.append(seconds / work_of(ONE))


def test_before_the_pace_is_known_no_more_than_a_batch_may_wait(admission: Admission) -> None:
    admission.check(ONE, ONE, cores=1, deadline=30)
    with pytest.raises(TooBusy, match="too many") as caught:
        admission.check(ONE, ONE * 2, cores=1, deadline=30)
    assert caught.value.retry_after == 1


def test_once_it_is_known_as_many_may_wait_as_have_room(admission: Admission, teach: Teach) -> None:
    teach(2.0)
    admission.check(ONE, ONE * 3, cores=1, deadline=30)
    with pytest.raises(TooBusy, match="too many") as caught:
        admission.check(ONE, ONE * 4, cores=1, deadline=30)
    assert caught.value.retry_after == 11, "a second after all five are done"


def test_what_could_not_be_done_in_time_is_refused_and_told_when_to_come_back(
    admission: Admission, teach: Teach
) -> None:
    teach(20.0)
    admission.check(ONE, ONE, cores=2, deadline=30)
    with pytest.raises(TooBusy, match="in time") as caught:
        admission.check(ONE, ONE * 2, cores=2, deadline=30)
    assert caught.value.retry_after == 9, "seconds by which it is more than 70% of the deadline"
    with pytest.raises(TooBusy, match="in time"):
        admission.check(ONE, ONE, cores=1, deadline=30)


def test_who_has_no_deadline_is_never_refused(admission: Admission, teach: Teach) -> None:
    admission.check(ONE * 100, ONE * 100, cores=1, deadline=float("inf"))
    teach(20.0)
    admission.check(ONE * 100, ONE * 100, cores=1, deadline=float("inf"))
