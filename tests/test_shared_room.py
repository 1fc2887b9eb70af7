import multiprocessing
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from flaskapp.errors import TooBusy
from flaskapp.semaphore import WeightedSemaphore
from flaskapp.shared_room import UNITS, SharedRoom

FORK = multiprocessing.get_context("fork")


@contextmanager
def another_process_with(units: int) -> Iterator[int]:
    """Fork a process that takes units. Yield its pid and kill it after the block."""
    reader, writer = os.pipe()

    def live() -> None:
        SharedRoom().take(units, time.monotonic() + 10)
        os.write(writer, b"!")
        signal.pause()

    process = FORK.Process(target=live)
    process.start()
    assert os.read(reader, 1) == b"!"
    try:
        yield process.pid or 0
    finally:
        process.kill()
        process.join(30)
        os.close(reader)
        os.close(writer)


def can_take(units: int, seconds: float = 0.0, room: SharedRoom | None = None) -> bool:
    """Return whether `units` can be taken. They are released again."""
    room = room or SharedRoom()
    taken = room.take(units, time.monotonic() + seconds)
    room.give_back(taken or ())
    return taken is not None and len(taken) == units


def test_units_of_one_process_are_unavailable_to_others() -> None:
    with another_process_with(UNITS - 2):
        assert not can_take(3)
        assert can_take(2)
    assert can_take(UNITS)


def test_units_cannot_be_taken_twice_by_one_process() -> None:
    room = SharedRoom()
    units = room.take(UNITS, 0.0)
    assert units is not None
    assert not can_take(1, room=room)
    room.give_back(units)
    assert can_take(UNITS, room=room)


def test_units_of_a_killed_process_are_released() -> None:
    with another_process_with(UNITS) as process:
        os.kill(process, signal.SIGKILL)
        assert can_take(UNITS, 30)


def test_a_wait_that_times_out_keeps_no_units() -> None:
    with another_process_with(1):
        assert not can_take(UNITS)
        assert can_take(UNITS - 1)


def test_small_requests_do_not_overtake_a_large_one() -> None:
    room = SharedRoom()
    few = room.take(1, 0.0)
    assert few is not None
    process = FORK.Process(target=lambda: SharedRoom().take(UNITS, time.monotonic() + 30))
    process.start()
    until = time.monotonic() + 30
    while can_take(1, room=room):  # until the other process waits
        assert time.monotonic() < until
    room.give_back(few)
    process.join(30)
    assert process.exitcode == 0


def test_a_semaphore_is_shared_among_processes() -> None:
    semaphore = WeightedSemaphore(1000, 0.01, "busy", shared=SharedRoom())
    with another_process_with(UNITS), pytest.raises(TooBusy, match="busy"), semaphore.take(1):
        pass
    with semaphore.take(1000), pytest.raises(TooBusy), semaphore.take(1):
        pass
    with semaphore.take(1000):
        pass
