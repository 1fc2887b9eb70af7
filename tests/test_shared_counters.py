import multiprocessing
import os
import signal
from collections.abc import Callable

import pytest
from limits import parse
from limits.storage import storage_from_string
from limits.strategies import FixedWindowRateLimiter

from flaskapp import shared_counters
from flaskapp.shared_counters import SHARED, SharedCounters

forking = multiprocessing.get_context("fork")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Return a function that sets the counters' clock."""

    def set_to(seconds: float) -> None:
        monkeypatch.setattr(shared_counters.time, "time", lambda: seconds)

    return set_to


def test_the_storage_url_creates_shared_counters() -> None:
    assert isinstance(storage_from_string(SHARED), SharedCounters)


def test_forked_processes_share_counters_without_lost_updates() -> None:
    counters = SharedCounters()

    def count() -> None:
        for _ in range(500):
            counters.incr("ada", 60)

    processes = [forking.Process(target=count) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert counters.get("ada") == 2000


def test_a_process_that_dies_with_the_lock_does_not_block_others() -> None:
    counters = SharedCounters()

    def die() -> None:
        with counters._locked():
            os.kill(os.getpid(), signal.SIGKILL)

    process = forking.Process(target=die)
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert counters.incr("ada", 60) == 1


def test_a_window_starts_with_the_first_attempt_and_expires(clock: Callable[[float], None]) -> None:
    limiter = FixedWindowRateLimiter(SharedCounters())
    rate = parse("2/minute")
    clock(1000)
    assert [limiter.hit(rate, "ada") for _ in range(3)] == [True, True, False]
    assert limiter.hit(rate, "grace")
    clock(1059.9)
    assert not limiter.test(rate, "ada")
    assert limiter.get_window_stats(rate, "ada").reset_time == 1060
    clock(1060)
    assert limiter.test(rate, "ada")
    assert limiter.hit(rate, "ada")


def test_a_clock_set_back_does_not_extend_a_limit(clock: Callable[[float], None]) -> None:
    limiter = FixedWindowRateLimiter(SharedCounters())
    rate = parse("1/minute")
    clock(100_000)
    assert limiter.hit(rate, "ada")
    clock(1000)
    assert limiter.hit(rate, "ada")


def test_counters_can_be_cleared_one_by_one_and_all_together() -> None:
    counters = SharedCounters()
    for name in ("ada", "grace"):
        counters.incr(name, 60)
    counters.clear("ada")
    assert (counters.get("ada"), counters.get("grace")) == (0, 1)
    counters.reset()
    assert counters.get("grace") == 0
    assert counters.check()


def test_two_instances_in_one_process_are_independent() -> None:
    first, second = SharedCounters(), SharedCounters()
    first.incr("ada", 60)
    assert (first.get("ada"), second.get("ada")) == (1, 0)


def test_without_memfd_create_a_file_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "memfd_create")
    file = shared_counters.open_unnamed_file()
    os.truncate(file, 100)
    assert os.fstat(file).st_size == 100
    os.close(file)


def test_a_count_is_never_negative() -> None:
    """Two keys may share a counter: refunds of one must not raise the other's limit."""
    counters = SharedCounters()
    counters.incr("ada", 60, 2)
    assert counters.incr("ada", 60, -5) == 0
    assert counters.incr("ada", 60) == 1
