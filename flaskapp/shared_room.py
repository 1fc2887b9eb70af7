"""Room that is counted in units, for processes forked from one that had imported this module: memory, for example.

A unit is a byte of a file in memory. A process that has it has locked it. The system unlocks the units of a process
that dies.
"""

import fcntl
import os
import threading
import time
from collections.abc import Collection

from flaskapp.shared_counters import open_unnamed_file

UNITS = 64
GATE = UNITS  # the byte after them: a waiting process locks it, so that no smaller request overtakes
SHORTEST, LONGEST = 0.0005, 0.02  # seconds between two tries: no system wakes a process that waits for several locks


class SharedRoom:
    """The same room in each process. A process makes one of it: its locks are the process's, not a thread's."""

    def __init__(self) -> None:
        self._mine: set[int] = set()
        self._lock = threading.Lock()

    def take(self, units: int, until: float) -> Collection[int] | None:
        """Wait for so many units, at most UNITS, until a time of the monotonic clock. None: there were not enough."""
        taken: set[int] = set()
        pause = SHORTEST
        try:
            while not (self._lock_byte(GATE, taken) and self._take_all(units, taken)):
                if time.monotonic() >= until:
                    self.give_back(taken)
                    return None
                time.sleep(pause)
                pause = min(2 * pause, LONGEST)
        except BaseException:
            self.give_back(taken)
            raise
        self.give_back({GATE})
        return taken - {GATE}

    def give_back(self, units: Collection[int]) -> None:
        """For others to take."""
        with self._lock:
            for unit in units:
                fcntl.lockf(_file, fcntl.LOCK_UN, 1, unit)
                self._mine.discard(unit)

    def _take_all(self, units: int, taken: set[int]) -> bool:
        """Lock more, up to so many. Returns whether these are all."""
        for unit in range(UNITS):
            if len(taken - {GATE}) == units:
                break
            self._lock_byte(unit, taken)
        return len(taken - {GATE}) == units

    def _lock_byte(self, byte: int, taken: set[int]) -> bool:
        """Whether it is among those taken now. A process's second lock of a byte would succeed as well."""
        if byte in taken:
            return True
        with self._lock:
            if byte in self._mine:
                return False
            try:
                fcntl.lockf(_file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, byte)
            except OSError:
                return False
            self._mine.add(byte)
            taken.add(byte)
            return True


_file = open_unnamed_file()
os.truncate(_file, UNITS + 1)
