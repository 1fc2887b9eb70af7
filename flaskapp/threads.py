"""Run work that would block gevent's event loop in real threads: computations, and waits that gevent cannot patch.

Without gevent, the work runs in the calling thread.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from gevent.threadpool import ThreadPool

Result = TypeVar("Result")


def under_gevent() -> bool:
    """Whether this process is a gevent worker, whose threads are greenlets of one thread."""
    monkey = sys.modules.get("gevent.monkey")
    return monkey is not None and bool(monkey.is_module_patched("threading"))


def yield_control() -> None:
    """Let other greenlets run, in the middle of work that does not wait."""
    if under_gevent():
        import gevent

        gevent.sleep(0)


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Raise TimeoutError if the block takes longer. Under gevent only; elsewhere the time-outs of sockets apply."""
    if not under_gevent():
        yield
        return
    import gevent

    with gevent.Timeout(seconds, TimeoutError):
        yield


class Threads:
    """A pool of at most `size` threads, which start when they are first needed."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._pool: ThreadPool | None = None

    def run(self, work: Callable[[], Result]) -> Result:
        """Return the result of `work`, or raise its error. Under gevent, `work` must not use gevent."""
        if not under_gevent():
            return work()
        if self._pool is None:
            from gevent.threadpool import ThreadPool

            self._pool = ThreadPool(self._size)
        results: list[Result] = []
        error = self._pool.apply(_error_of, (lambda: results.append(work()),))
        if error is not None:
            try:
                raise error
            finally:
                del error  # breaks the cycle of the error and its traceback, which would keep the work's objects
        return results[0]

    def each(self, items: Iterable[Result]) -> Iterator[Result]:
        """Yield the items of an iterable, and make each one in `run`."""
        iterator = iter(items)
        while True:
            found = self.run(lambda: list(islice(iterator, 1)))
            if not found:
                return
            yield found[0]


def _error_of(work: Callable[[], None]) -> BaseException | None:
    """Return the error of `work` instead of raising it: gevent would log the traceback of expected errors too."""
    try:
        work()
    except BaseException as error:
        return error
    return None
