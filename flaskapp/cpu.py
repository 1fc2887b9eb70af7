"""The CPU cores that this process may use: fewer than the machine has, under an affinity mask or in a container."""

import math
import os
from pathlib import Path

SPINS = 1000  # of a thread of torch that waits for the others, before it sleeps; libgomp's own number is 300,000
CGROUP_LIMIT = Path("/sys/fs/cgroup/cpu.max")  # "max 100000" or "200000 100000": microseconds of CPU in each period


def usable_cores(cgroup_limit: Path = CGROUP_LIMIT) -> int:
    """Cores by the affinity mask and by the container's CPU limit, rounded up; at least 1."""
    allowed = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )  # macOS: no mask
    try:
        quota, period = cgroup_limit.read_text().split()
        allowed = min(allowed, math.ceil(int(quota) / int(period)))
    except (OSError, ValueError):  # no cgroup here, or no limit ("max")
        pass
    return max(1, allowed)


def spin_little() -> None:
    """Let the threads of torch leave their cores to other processes while they wait for each other.

    libgomp reads it when torch is imported. A lone caption takes as long as before; two processes that compute at the
    same time take a third of the time.
    """
    os.environ.setdefault("GOMP_SPINCOUNT", str(SPINS))
