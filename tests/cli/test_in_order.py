import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from flaskapp.cli.in_order import in_order


def nothing() -> None:
    pass


def test_results_have_the_order_of_the_items() -> None:
    second_is_done = threading.Event()

    def work(number: int) -> int:
        if number == 0:
            assert second_is_done.wait(10)
        if number == 1:
            second_is_done.set()
        return number * number

    assert list(in_order(work, range(5), 2, nothing)) == [0, 1, 4, 9, 16]


def test_items_are_taken_only_up_to_the_limit_in_flight() -> None:
    taken = []

    def items() -> Iterator[int]:
        for number in range(1000):
            taken.append(number)
            yield number

    for number in in_order(lambda number: number, items(), 4, nothing):
        assert len(taken) - number <= 5, "four in flight and one that waits for a place"
    assert len(taken) == 1000


def test_an_error_ends_the_iteration_and_starts_no_more_items() -> None:
    stopped = threading.Event()
    begun = []

    def work(number: int) -> None:
        begun.append(number)
        if number == 0:
            raise RuntimeError("at the first")
        assert stopped.wait(10)

    with pytest.raises(RuntimeError, match="at the first"):
        list(in_order(work, range(1000), 2, stopped.set))
    assert len(begun) <= 4


def test_closing_stops_running_work_without_waiting_for_its_end() -> None:
    stopped = threading.Event()
    results = in_order(lambda number: number == 0 or stopped.wait(10), range(1000), 2, stopped.set)
    assert next(results) is True
    with ThreadPoolExecutor(1) as pool:
        pool.submit(results.close).result(5)
    assert stopped.is_set()
