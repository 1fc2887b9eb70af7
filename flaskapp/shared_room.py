"""A counting semaphore for forked processes, which limits memory for example.

A unit is a byte of a file in memory. A process holds a unit by a lock on its byte, which the system releases if the
process dies. The processes must be forked from the process that imported this module.
"""

import fcntl
import os
import threading
import time
from collections.abc import Collection

from flaskapp.shared_counters import open_unnamed_file

UNITS = 64
GATE = UNITS  # byte that the first waiting process locks, so that smaller requests do not overtake it
# Seconds between tries. It polls, because no system call waits for several locks.
FIRST_PAUSE, MAX_PAUSE = 0.0005, 0.02


class SharedRoom:
    """The units that all processes share. Make one in each process: file locks belong to a process, not to a thread."""

    def __init__(self) -> None:
        self._mine: set[int] = set()
        self._lock = threading.Lock()

    def take(self, units: int, until: float) -> Collection[int] | None:
        """Take this number of units, at most UNITS. Wait until `until` on the monotonic clock, then return None."""
        taken: set[int] = set()
        pause = FIRST_PAUSE
        try:
            while not (self._lock_byte(GATE, taken) and self._take_all(units, taken)):
                if time.monotonic() >= until:
                    self.give_back(taken)
                    return None
                time.sleep(pause)
                pause = min(2 * pause, MAX_PAUSE)
        except BaseException:
            self.give_back(taken)
            raise
        self.give_back({GATE})
        return taken - {GATE}

    def give_back(self, units: Collection[int]) -> None:
        """Release units."""
        with self._lock:
            for unit in units:
                fcntl.lockf(_file, fcntl.LOCK_UN, 1, unit)
                self._mine.discard(unit)

    def _take_all(self, units: int, taken: set[int]) -> bool:
        """Lock free units until `taken` has this number of them. Return whether it has."""
        for unit in range(UNITS):
            if len(taken - {GATE}) == units:
                break
            self._lock_byte(unit, taken)
        return len(taken - {GATE}) == units

    def _lock_byte(self, byte: int, taken: set[int]) -> bool:
        """Try to lock a byte, and return whether `taken` has it.

        `_mine` has the locks of all threads: the system would let a process lock a byte twice.
        """
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
