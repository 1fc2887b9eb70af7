"""This process's share of the machine: cores, memory (in a container, less than the machine has) and priority."""

import ctypes
import math
import os
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
NICE = 5  # added to the niceness of captioning threads and job workers
SPINS = 20_000  # of a waiting OpenMP thread before it sleeps; libgomp's default is 300,000
OMP_PAUSE_SOFT = 1  # of OpenMP 5's omp_pause_resource_t: keep the settings
MMAP_THRESHOLD = 32 << 20  # bytes from which malloc maps a block of its own; the documented maximum of glibc
TRIM_THRESHOLD = 64 << 20  # bytes of free memory at the end of the heap that malloc keeps


def usable_cores(cgroups: Path = CGROUPS) -> int:
    """Cores by the affinity mask and by the container's CPU limit, rounded up; at least 1."""
    allowed = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )  # macOS: no mask
    version_1 = cgroups / "cpu"
    quota, period = (
        _numbers(cgroups / "cpu.max")  # "200000 100000": microseconds of CPU in each period
        or _numbers(version_1 / "cpu.cfs_quota_us", version_1 / "cpu.cfs_period_us")  # quota -1: no limit
        or (-1, 1)
    )
    return max(1, min(allowed, math.ceil(quota / period)) if quota > 0 else allowed)


def usable_memory(cgroups: Path = CGROUPS) -> int:
    """Bytes of the machine's memory, or of the container's limit, whichever is less."""
    installed = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    files = cgroups / "memory.max", cgroups / "memory" / "memory.limit_in_bytes"  # of version 2 and of version 1
    return min([installed, *(number for file in files for number in _numbers(file))])


def limit_spins() -> None:
    """Let the threads of torch sleep sooner when they wait for each other: other processes then get their cores.

    libgomp reads it when torch is imported: call this before. On two cores of a Xeon, an int8 caption of a single
    client takes 480 ms with 2,500 spins and 370 ms with 20,000, with a model of the default's size. With libgomp's own
    limit, it may take 20 s while another process uses a core, until `FreeCores` reduces the threads.
    """
    os.environ.setdefault("GOMP_SPINCOUNT", str(SPINS))


def with_fast_malloc(environment: Mapping[str, str]) -> dict[str, str]:
    """Return an environment in which glibc's malloc uses huge pages and causes fewer page faults.

    Those that the user sets in GLIBC_TUNABLES take precedence. On two cores of a Xeon, a model of the default's size
    captions 5% more images per second.
    """
    numbers = {"hugetlb": 1, "mmap_threshold": MMAP_THRESHOLD, "trim_threshold": TRIM_THRESHOLD}
    ours = ":".join(f"glibc.malloc.{name}={number}" for name, number in numbers.items())
    given = environment.get("GLIBC_TUNABLES")
    return {**environment, "GLIBC_TUNABLES": f"{ours}:{given}" if given else ours}  # of equal names, the last counts


def release_free_memory() -> None:
    """Return free heap memory to the operating system. Does nothing without glibc."""
    with suppress(AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def release_threads() -> None:
    """End the OpenMP threads that wait for the calling thread's next parallel operation.

    libgomp counts the threads of all its callers. Once there are more than cores, every thread that waits soon sleeps,
    and waking it takes longer than most operations of a decode step. On two cores of a Xeon, an int8 caption of a
    single image took 350 ms, and 690 ms while another thread, which had loaded the model, kept its threads.
    """
    if sys.platform == "linux":  # macOS has another OpenMP, which does not count
        with suppress(AttributeError):
            ctypes.CDLL(None).omp_pause_resource_all(OMP_PAUSE_SOFT)


def lower_priority(niceness: int = NICE) -> None:
    """Lower the priority of the calling thread, and of the threads that it starts.

    Web workers and other programs on the machine then get the cores first.
    """
    if sys.platform == "linux":  # elsewhere only processes have a niceness
        thread = threading.get_native_id()
        with suppress(OSError):  # some sandboxes forbid it
            os.setpriority(os.PRIO_PROCESS, thread, os.getpriority(os.PRIO_PROCESS, thread) + niceness)


def _numbers(*files: Path) -> tuple[int, ...]:
    """The numbers in these files. None where one is missing, or says that there is no limit ("max")."""
    try:
        return tuple(int(number) for file in files for number in file.read_text().split())
    except (OSError, ValueError):
        return ()
