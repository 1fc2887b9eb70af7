"""Work that takes much of the machine is done by a few at once; the others wait for their turn, but not for long."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from flaskapp.errors import TooBusy


class Turns:
    """Room in this process for so much work at once. Work that is larger than all the room is done alone."""

    def __init__(self, room: float, wait: float, busy: str) -> None:
        """Whoever has waited for `wait` seconds gets TooBusy, with the words of `busy`."""
        self._room, self._wait, self._busy = room, wait, busy
        self._taken = 0.0
        self._changed = threading.Condition()

    @contextmanager
    def take(self, amount: float = 1) -> Iterator[None]:
        amount = min(amount, self._room)
        with self._changed:
            if not self._changed.wait_for(lambda: self._taken + amount <= self._room, self._wait):
                raise TooBusy(self._busy, retry_after=2)
            self._taken += amount
        try:
            yield
        finally:
            with self._changed:
                self._taken -= amount
                self._changed.notify_all()
