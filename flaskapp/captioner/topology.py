"""Which cores share a cache, and which of them each lane uses."""

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

DEVICES = Path("/sys/devices/system")
CORES_PER_LANE = 4
ALL_CORES: frozenset[int] = frozenset()


def plan_lanes(cores: int, devices: Path = DEVICES) -> list[frozenset[int]]:
    """Return the cores of each lane, ALL_CORES for those that may run on any. A lane runs one batch.

    `cores` is the number that this process may use. Two lanes are fastest on two cores, as measured. With too many, all
    batches are small. Where the cores have several caches, each lane stays on one of them, so that its threads share
    their data there; consecutive lanes are on different caches. Only the first lane may use all cores.

    Where a CPU limit leaves fewer cores than the affinity mask, their places are not known. Some hypervisors show a
    cache for each core: domains too small for a lane do not count.
    """
    domains = cache_domains(devices)
    sizes = [len(domain) for domain in domains]
    if len(domains) < 2 or min(sizes) < CORES_PER_LANE or cores < sum(sizes):
        return [ALL_CORES] * min(cores, max(2, cores // CORES_PER_LANE))
    rounds = range(max(sizes) // CORES_PER_LANE)
    lanes = [domain for number in rounds for domain in domains if number < len(domain) // CORES_PER_LANE]
    return [ALL_CORES, *lanes[1:]]


def cache_domains(devices: Path = DEVICES) -> list[frozenset[int]]:
    """Return the cores that this process may use, by last-level cache and NUMA node.

    A list of one domain, or an empty one, where the system does not show its caches (macOS).
    """
    allowed = set(_allowed_cores())
    nodes = [_read_cores(file) for file in sorted(devices.glob("node/node*/cpulist"))]
    domains = []
    while allowed:
        core = min(allowed)
        domain = allowed & _sharing_cache(devices / f"cpu/cpu{core}/cache", allowed)
        domain = next((domain & node for node in nodes if core in node), domain) | {core}
        domains.append(frozenset(domain))
        allowed -= domain
    return domains


def stay_on(cores: frozenset[int]) -> None:
    """Let the calling thread, and the threads that it starts, run on these cores only."""
    if cores:
        with suppress(OSError):  # some sandboxes forbid it; a core may be gone
            os.sched_setaffinity(0, cores)


def _allowed_cores() -> Sequence[int]:
    if not hasattr(os, "sched_getaffinity"):
        return ()
    return sorted(os.sched_getaffinity(os.getpid()))  # of the main thread: lanes have their own


def _sharing_cache(caches: Path, otherwise: set[int]) -> set[int]:
    """Return the cores that share the last of a core's caches."""
    levels = [(int(_read(file) or 0), file) for file in caches.glob("index*/level")]
    _, last = max(levels, default=(0, caches / "none"))
    return _read_cores(last.with_name("shared_cpu_list")) or otherwise


def _read_cores(file: Path) -> set[int]:
    """Parse a list such as "0-3,8"."""
    return {core for part in _read(file).split(",") if part for core in _range(part)}


def _range(part: str) -> range:
    first, _, last = part.partition("-")
    return range(int(first), int(last or first) + 1)


def _read(file: Path) -> str:
    try:
        return file.read_text().strip()
    except OSError:
        return ""
