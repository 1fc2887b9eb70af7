import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from flaskapp import free_cores
from flaskapp.free_cores import INTERVAL, FreeCores, read_times
from tests.polling import wait_until

ALLOWED = sorted(os.sched_getaffinity(0))
LOOP = "print(flush=True)\nwhile True: pass"


class Machine:
    """A clock, and a file like /proc/stat in which all cores of this process were idle for `idle` seconds in total."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.stat = folder / "stat"
        self.now = self.own = 0.0
        self.pass_time(idle=1)
        clock = SimpleNamespace(monotonic=lambda: self.now, process_time=lambda: self.own)
        monkeypatch.setattr(free_cores, "time", clock)

    def pass_time(self, *, seconds: float = INTERVAL, idle: float = 0, own: float = 0) -> None:
        self.now += seconds
        self.own += own
        ticks = round(idle * os.sysconf("SC_CLK_TCK"))
        before = read_times(self.stat)
        ticks += round(before.idle * os.sysconf("SC_CLK_TCK")) if before is not None else 0
        other = max(ALLOWED) + 1
        lines = ["cpu  1 1 1 99999 0 0 0 0 0 0", f"cpu{ALLOWED[0]} 9 9 9 {ticks} 0 0 0 0 0 0"]
        self.stat.write_text("\n".join([*lines, f"cpu{other} 9 9 9 {ticks * 7} 0 0 0 0 0 0", "intr 5 6 7"]))


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(tmp_path, monkeypatch)


@pytest.mark.parametrize(
    ("idle", "own", "free"),
    [
        (8, 0, 4),  # at most as many as this process may use
        (1, 2, 3),
        (0, 1, 1),
        (0, 0.2, 1),  # at least one
        (1.4, 1, 2),  # rounded
        (1.6, 1, 3),
    ],
)
def test_idle_cores_and_those_that_this_process_uses_are_free(
    machine: Machine, idle: float, own: float, free: int
) -> None:
    cores = FreeCores(4, machine.stat)
    assert cores.count() == 4, "before the first measurement"
    machine.pass_time(seconds=1, idle=idle, own=own)
    assert cores.count() == free


def test_within_an_interval_nothing_is_measured_again(machine: Machine) -> None:
    cores = FreeCores(4, machine.stat)
    machine.pass_time(idle=INTERVAL)
    assert cores.count() == 1
    machine.pass_time(seconds=INTERVAL / 2, idle=5 * INTERVAL)
    assert cores.count() == 1
    machine.pass_time()
    assert cores.count() == 3


@pytest.mark.parametrize("text", [None, "", "cpu\n", f"cpu{ALLOWED[0]} 1 2 3", f"cpu{ALLOWED[0]} 0 0 0 0 0 0 0"])
def test_without_cpu_times_all_cores_count_as_free(tmp_path: Path, text: str | None) -> None:
    stat = tmp_path / "stat"
    if text is not None:
        stat.write_text(text)
    assert read_times(stat) is None
    assert FreeCores(4, stat).count() == 4


def test_other_processes_on_all_cores_leave_one_core() -> None:
    cores = FreeCores(len(ALLOWED))
    busy = [subprocess.Popen([sys.executable, "-c", LOOP], stdout=subprocess.PIPE) for _ in ALLOWED]
    try:
        for each in busy:
            assert each.stdout is not None
            each.stdout.readline()
        wait_until(lambda: cores.count() == 1)
    finally:
        for each in busy:
            each.kill()
            each.communicate()
