"""A weighted FIFO semaphore with a timeout and a bounded queue."""

import math
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

from flaskapp.errors import TooBusy
from flaskapp.shared_room import UNITS, SharedRoom

RETRY_AFTER = 2  # seconds
MAX_WAITING = 32  # callers; more would rarely be admitted in time


class WeightedSemaphore:
    """Admits work of up to `room` units at once, in order of arrival. Work of more units runs alone."""

    def __init__(self, room: int, wait: float, busy: str, shared: SharedRoom | None = None) -> None:
        """Callers get TooBusy with the message `busy` after `wait` seconds, or at once if too many wait.

        With `shared`, all processes share the room.
        """
        self._room, self._wait, self._busy, self._shared = room, wait, busy, shared
        self._taken = 0
        self._waiting: deque[object] = deque()
        self._changed = threading.Condition()

    @contextmanager
    def take(self, amount: int = 1, *, patient: bool = False) -> Iterator[None]:
        """Hold `amount` units during the block. `patient`: no timeout, and no bound of the queue."""
        amount = min(amount, self._room)
        until = math.inf if patient else time.monotonic() + self._wait
        self._enter(amount, patient)
        try:
            with self._among_processes(amount, until):
                yield
        finally:
            with self._changed:
                self._taken -= amount
                self._changed.notify_all()

    @contextmanager
    def _among_processes(self, amount: int, until: float) -> Iterator[None]:
        if self._shared is None:
            yield
            return
        units = self._shared.take(math.ceil(amount * UNITS / self._room), until)
        if units is None:
            raise TooBusy(self._busy, retry_after=RETRY_AFTER)
        try:
            yield
        finally:
            self._shared.give_back(units)

    def _enter(self, amount: int, patient: bool) -> None:
        ticket = object()
        with self._changed:
            if len(self._waiting) >= MAX_WAITING and not patient:
                raise TooBusy(self._busy, retry_after=RETRY_AFTER)
            self._waiting.append(ticket)
            self._changed.notify_all()
            try:
                wait = None if patient else self._wait
                if not self._changed.wait_for(lambda: self._is_next(ticket, amount), wait):
                    raise TooBusy(self._busy, retry_after=RETRY_AFTER)
                self._taken += amount
            finally:
                self._waiting.remove(ticket)
                self._changed.notify_all()

    def _is_next(self, ticket: object, amount: int) -> bool:
        return self._waiting[0] is ticket and self._taken + amount <= self._room
