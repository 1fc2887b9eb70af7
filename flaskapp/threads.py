"""Threads for work that takes a core, or waits in a way that gevent does not know: other requests go on meanwhile.

Without gevent such work is done where it is asked for.
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


def lower_priority() -> None:
    """Let other requests go on, in the middle of work that has no other pause."""
    if under_gevent():
        import gevent

        gevent.sleep(0)


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Raises TimeoutError under gevent when the block waits for so long. Elsewhere only sockets have time-outs."""
    if not under_gevent():
        yield
        return
    import gevent

    with gevent.Timeout(seconds, TimeoutError):
        yield


class Threads:
    """At most so many threads, which are started when they are needed first."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._pool: ThreadPool | None = None

    def run(self, work: Callable[[], Result]) -> Result:
        """The result of `work`, or what it raises. Under gevent it may use nothing that waits in gevent's way."""
        if not under_gevent():
            return work()
        if self._pool is None:
            from gevent.threadpool import ThreadPool

            self._pool = ThreadPool(self._most)
        results: list[Result] = []
        error = self._pool.apply(_error_of, (lambda: results.append(work()),))
        if error is not None:
            try:
                raise error
            finally:
                del error  # or it would keep itself, by its traceback, and all that the work had in hand
        return results[0]

    def each(self, items: Iterable[Result]) -> Iterator[Result]:
        """The items, each made by `run`."""
        iterator = iter(items)
        while True:
            found = self.run(lambda: list(islice(iterator, 1)))
            if not found:
                return
            yield found[0]


def _error_of(work: Callable[[], None]) -> BaseException | None:
    """What it raises: gevent would log the traceback of an error, also of an expected one."""
    try:
        work()
    except BaseException as error:
        return error
    return None
