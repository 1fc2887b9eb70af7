"""How many of its cores this process can use now: other processes may occupy some of them."""

import math
import os
import time
from pathlib import Path
from typing import NamedTuple

STAT = Path("/proc/stat")
INTERVAL = 0.1  # seconds between two measurements, at least


class Times(NamedTuple):
    """CPU times up to a moment, in seconds."""

    moment: float  # monotonic
    idle: float  # sum over the cores that this process may use
    own: float  # of this process, all threads


class FreeCores:
    """Measures the cores that other processes leave to this one: those that are idle and those that it uses itself.

    Threads that compute together wait for the slowest of them in every operation. With more threads than free cores,
    the slowest one does not even run: on two cores, fewer threads were faster even beside two busy loops. A process of
    lower priority counts like any other.
    """

    def __init__(self, cores: int, stat: Path = STAT) -> None:
        """`cores` is the most that this process may use. `stat` has the format of Linux's /proc/stat."""
        self._cores, self._stat = cores, stat
        self._latest = read_times(stat), cores  # assigned at once: lanes race

    def count(self) -> int:
        """Return the mean number of free cores since the last measurement, at least 1. All where it is not known."""
        before, free = self._latest
        if before is not None and time.monotonic() - before.moment >= INTERVAL:
            now = read_times(self._stat)
            if now is not None:
                seconds = now.idle - before.idle + now.own - before.own
                free = max(1, min(self._cores, math.floor(seconds / (now.moment - before.moment) + 0.5)))
                self._latest = now, free
        return free


def read_times(stat: Path = STAT) -> Times | None:
    """Return the CPU times until now. None where they are not available, for example on macOS."""
    try:
        lines = [line.split() for line in stat.read_text().splitlines() if line.startswith("cpu")]
        allowed = {f"cpu{number}" for number in os.sched_getaffinity(os.getpid())}  # of the main thread
        ticks = sum(int(idle) + int(iowait) for name, _, _, _, idle, iowait, *_ in lines if name in allowed)
    except (OSError, ValueError, AttributeError):
        return None
    if ticks == 0:  # some sandboxes show zeros
        return None
    return Times(time.monotonic(), ticks / os.sysconf("SC_CLK_TCK"), time.process_time())
