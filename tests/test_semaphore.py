import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from flaskapp.errors import TooBusy
from flaskapp.semaphore import MAX_WAITING, WeightedSemaphore


def test_no_more_than_the_capacity_is_taken_at_once() -> None:
    semaphore = WeightedSemaphore(5, 30, "busy")
    lock = threading.Lock()
    taken = most = 0

    def work(amount: int) -> None:
        nonlocal taken, most
        with semaphore.take(amount):
            with lock:
                taken += amount
                most = max(most, taken)
            with lock:
                taken -= amount

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(work, [1, 2, 3, 4, 5] * 20))
    assert 3 < most <= 5


def test_a_wait_that_times_out_takes_nothing_and_has_a_retry_after() -> None:
    semaphore = WeightedSemaphore(2, 0.01, "too much at once")
    with semaphore.take(2), pytest.raises(TooBusy, match="too much at once") as caught, semaphore.take():
        pass
    assert caught.value.retry_after > 0
    with semaphore.take(2):
        pass


def test_patient_waits_have_no_timeout_and_no_queue_limit() -> None:
    semaphore = WeightedSemaphore(1, 0, "busy")
    done = []

    def wait(number: int) -> None:
        with semaphore.take(patient=True):
            done.append(number)

    with ThreadPoolExecutor(MAX_WAITING + 1) as pool:
        with semaphore.take():
            waiting = pool.map(wait, range(MAX_WAITING + 1))
            with semaphore._changed:
                assert semaphore._changed.wait_for(lambda: len(semaphore._waiting) == MAX_WAITING + 1, 30)
            assert done == []
        list(waiting)
    assert sorted(done) == list(range(MAX_WAITING + 1))


def test_an_amount_beyond_the_capacity_takes_all_of_it() -> None:
    semaphore = WeightedSemaphore(2, 0.01, "busy")
    with semaphore.take(1000), pytest.raises(TooBusy), semaphore.take():
        pass


def test_an_amount_is_released_after_an_error() -> None:
    semaphore = WeightedSemaphore(1, 0.01, "busy")
    for _ in range(3):
        with pytest.raises(ValueError, match="broken"), semaphore.take():
            raise ValueError("broken")


def test_waits_are_first_in_first_out_regardless_of_the_amount() -> None:
    semaphore = WeightedSemaphore(2, 30, "busy")
    order: list[int] = []

    def work(amount: int) -> None:
        with semaphore.take(amount):
            order.append(amount)

    with ThreadPoolExecutor(2) as pool:
        with semaphore.take(1):
            large = pool.submit(work, 2)
            with semaphore._changed:
                assert semaphore._changed.wait_for(lambda: len(semaphore._waiting) == 1, 30)
            small = pool.submit(work, 1)
            with semaphore._changed:
                assert semaphore._changed.wait_for(lambda: len(semaphore._waiting) == 2, 30)
        large.result(30)
        small.result(30)
    assert order == [2, 1]


def test_the_number_of_waits_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flaskapp.semaphore.MAX_WAITING", 0)
    with pytest.raises(TooBusy), WeightedSemaphore(1, 30, "busy").take():
        pass
