"""Resources of a server's processes: memory, descriptors, threads."""

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.benchmarks.process import process_tree

TIMEOUT = 30  # seconds for a server to close abandoned connections


@dataclass(frozen=True)
class Process:
    """The resources of one process at one time."""

    id: int
    rss: float  # MB
    pss: float  # MB, each page divided by the number of processes that share it
    descriptors: int
    threads: int


def processes(master: int) -> list[Process]:
    """Return the resources of the master and its workers."""
    return [_process(id) for id in process_tree(master)]


def when_quiet(master: int) -> list[Process]:
    """Return the resources once no process has a connection. Nothing announces this, so they are polled."""
    until = time.monotonic() + TIMEOUT
    while _connections(master) and time.monotonic() < until:
        time.sleep(0.1)  # nothing announces it
    return processes(master)


def _process(id: int) -> Process:
    memory = _numbers(Path(f"/proc/{id}/smaps_rollup"))
    status = _numbers(Path(f"/proc/{id}/status"))
    descriptors = len(os.listdir(f"/proc/{id}/fd"))  # noqa: PTH208  entries may vanish while they are counted
    return Process(id, memory["Rss"] / 1024, memory["Pss"] / 1024, descriptors, status["Threads"])


def _numbers(file: Path) -> dict[str, int]:
    """Return the numbers in a file of /proc by their names."""
    pairs = (line.partition(":")[::2] for line in file.read_text().splitlines())
    words = ((name, rest.split()[0]) for name, rest in pairs if rest.strip())
    return {name: int(word) for name, word in words if word.isdecimal()}


def _connections(master: int) -> int:
    """Count established connections of these processes, by the inodes of their descriptors in /proc/net/tcp."""
    lines: Sequence[str] = Path(f"/proc/{master}/net/tcp").read_text().splitlines()[1:]
    established = {f"socket:[{line.split()[9]}]" for line in lines if line.split()[3] == "01"}
    held = set()
    for process in processes(master):
        for descriptor in Path(f"/proc/{process.id}/fd").iterdir():
            try:
                held.add(os.readlink(descriptor))  # noqa: PTH115  the target is no path
            except FileNotFoundError:  # closed in the meantime
                continue
    return len(held & established)
