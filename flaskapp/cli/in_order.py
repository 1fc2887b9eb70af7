"""Runs work in threads, and yields the results in the order of the items."""

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_order(
    work: Callable[[Item], Result], items: Iterable[Item], in_flight: int, stop: Callable[[], None]
) -> Generator[Result]:
    """Call `work` with each item in `in_flight` threads, and yield the results in order.

    Takes at most `in_flight` items more than it has yielded results. Calls `stop` at the end, or when closed earlier,
    so that calls of `work` in progress can end early.
    """
    pool = ThreadPoolExecutor(in_flight)
    futures: deque[Future[Result]] = deque()
    try:
        for item in items:
            if len(futures) >= in_flight:
                yield futures.popleft().result()
            futures.append(pool.submit(work, item))
        while futures:
            yield futures.popleft().result()
    finally:
        stop()
        pool.shutdown(cancel_futures=True)
