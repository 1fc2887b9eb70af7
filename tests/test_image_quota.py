"""Refunds to the quota of images."""

import time

import pytest
from limits.storage import MemoryStorage
from limits.strategies import FixedWindowRateLimiter

from flaskapp.errors import ClientLeft, DeadlineExceeded, FlaskappError, TooBusy
from flaskapp.image_quota import MARGIN, Admission, ImageQuota, Window
from flaskapp.rate_counters import RateCounters


@pytest.fixture
def storage() -> MemoryStorage:
    return MemoryStorage()


def quota(storage: MemoryStorage, rate: str = "5/hour") -> ImageQuota:
    strategy = FixedWindowRateLimiter(storage)
    return ImageQuota(rate, RateCounters(lambda: strategy))


def remaining(admission: Admission) -> int:
    assert admission.balance is not None
    return admission.balance.remaining


def test_some_images_of_an_admission_can_be_refunded(storage: MemoryStorage) -> None:
    images = quota(storage)
    admission = images.take("ada", 4)
    assert remaining(admission) == 1
    admission.give_back(3)
    assert remaining(admission) == 4
    assert images.take("ada", 4).is_admitted
    assert not images.take("ada", 1).is_admitted


@pytest.mark.parametrize(
    ("error", "left"),
    [(TooBusy("busy", retry_after=1), 5), (ValueError(), 5), (DeadlineExceeded("late"), 2), (ClientLeft("gone"), 2)],
)
def test_an_error_refunds_all_images_unless_the_model_has_run(
    storage: MemoryStorage, error: Exception, left: int
) -> None:
    admission = quota(storage).take("ada", 3)
    with pytest.raises(type(error)), admission:
        raise error
    assert remaining(admission) == left


def test_near_the_end_of_its_window_an_admission_is_not_refunded(storage: MemoryStorage) -> None:
    images = quota(storage, f"5 per {MARGIN - 1} second")
    admission = images.take("ada", 5)
    admission.give_back(5)
    assert remaining(admission) == 0
    assert not images.take("ada", 1).is_admitted


def test_a_failing_storage_refunds_nothing(
    storage: MemoryStorage, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object, **__: object) -> int:
        raise FlaskappError("canary")

    admission = quota(storage).take("ada", 3)
    monkeypatch.setattr(storage, "incr", fail)
    admission.give_back(3)
    assert remaining(admission) == 2
    assert "Images could not be given back to a quota: FlaskappError" in caplog.text
    assert "canary" not in caplog.text


def test_without_a_quota_a_refund_does_nothing(storage: MemoryStorage) -> None:
    admission = quota(storage, "off").take("ada", 3)
    admission.give_back(3)
    assert (admission.is_admitted, admission.balance) == (True, None)


def test_images_are_refunded_in_the_storage_that_counted_them(storage: MemoryStorage) -> None:
    storages = [storage, MemoryStorage()]
    strategies = iter([FixedWindowRateLimiter(each) for each in storages])
    images = ImageQuota("5/hour", RateCounters(lambda: next(strategies)))
    first = images.take("ada", 3)
    second = images.take("ada", 3)
    first.give_back(3)
    assert (remaining(first), remaining(second)) == (5, 2)
    assert first.balance is not None
    assert first.balance.reset_at > time.time()


def test_a_request_that_loses_a_race_for_the_last_images_does_not_count(
    storage: MemoryStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = quota(storage, "9/minute;5/hour")
    admission = images.take("ada", 3)
    with monkeypatch.context() as race:
        race.setattr(Window, "has_room", lambda *_: True)
        assert not images.take("ada", 4).is_admitted
    admission.give_back(0)
    assert remaining(images.take("ada", 2)) == 0
    admission.give_back(3)
    assert remaining(admission) == 3
