"""What a server's processes hold: memory, descriptors, threads."""

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.benchmarks.process import descent

PATIENCE = 30  # seconds until a server has closed what its clients left


@dataclass(frozen=True)
class Process:
    """One process at one time."""

    id: int
    rss: float  # MB
    pss: float  # MB, each page divided by the number of processes that share it
    descriptors: int
    threads: int


def processes(master: int) -> list[Process]:
    """The master and its workers."""
    return [_process(id) for id in descent(master)]


def when_quiet(master: int) -> list[Process]:
    """The same, once no process has a connection any more: nothing tells of that, so they are asked."""
    until = time.monotonic() + PATIENCE
    while _connections(master) and time.monotonic() < until:
        time.sleep(0.1)  # nothing tells when a process has settled
    return processes(master)


def _process(id: int) -> Process:
    memory = _numbers(Path(f"/proc/{id}/smaps_rollup"))
    status = _numbers(Path(f"/proc/{id}/status"))
    descriptors = len(os.listdir(f"/proc/{id}/fd"))  # noqa: PTH208  names that may be gone are counted
    return Process(id, memory["Rss"] / 1024, memory["Pss"] / 1024, descriptors, status["Threads"])


def _numbers(file: Path) -> dict[str, int]:
    """Of a file of /proc, the lines whose first word after the colon is a number."""
    pairs = (line.partition(":")[::2] for line in file.read_text().splitlines())
    words = ((name, rest.split()[0]) for name, rest in pairs if rest.strip())
    return {name: int(word) for name, word in words if word.isdecimal()}


def _connections(master: int) -> int:
    """Established connections of these processes: /proc/net/tcp knows them by the inodes of their descriptors."""
    lines: Sequence[str] = Path(f"/proc/{master}/net/tcp").read_text().splitlines()[1:]
    established = {f"socket:[{line.split()[9]}]" for line in lines if line.split()[3] == "01"}
    held = set()
    for process in processes(master):
        for descriptor in Path(f"/proc/{process.id}/fd").iterdir():
            try:
                held.add(os.readlink(descriptor))  # noqa: PTH115  not the path of anything
            except FileNotFoundError:  # closed in the meantime
                continue
    return len(held & established)
