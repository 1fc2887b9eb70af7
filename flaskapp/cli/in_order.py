"""Much work, some of it at a time, with results in the order of the work."""

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_order(
    work: Callable[[Item], Result], items: Iterable[Item], in_flight: int, stop: Callable[[], None]
) -> Generator[Result]:
    """Call `work` with each item, in so many threads. No more than `in_flight` items are taken ahead of the results.

    In the end, and when it is closed before, `stop` is called: it may make `work` that goes on come to an end.
    """
    pool = ThreadPoolExecutor(in_flight)
    flying: deque[Future[Result]] = deque()
    try:
        for item in items:
            if len(flying) >= in_flight:
                yield flying.popleft().result()
            flying.append(pool.submit(work, item))
        while flying:
            yield flying.popleft().result()
    finally:
        stop()
        pool.shutdown(cancel_futures=True)
