import os
import platform
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from flaskapp.machine import NICE, lower_priority, usable_cores, usable_memory, with_fast_malloc


def write(folder: Path, files: dict[str, Any]) -> None:
    """Write files like the kernel's."""
    for name, text in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(f"{text}\n")


def test_without_a_container_the_affinity_mask_counts(tmp_path: Path) -> None:
    assert usable_cores(tmp_path / "missing") == len(os.sched_getaffinity(0))


@pytest.mark.parametrize(
    ("quota", "period", "cores"),
    [
        ("max", 100000, 8),
        (-1, 100000, 8),
        (100000, 100000, 1),
        (5000, 100000, 1),
        (150000, 100000, 2),
        (900000, 100000, 8),
    ],
)
@pytest.mark.parametrize("version", [1, 2])
def test_a_container_s_cpu_limit_is_rounded_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: int, quota: int | str, period: int, cores: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    files = {1: {"cpu/cpu.cfs_quota_us": quota, "cpu/cpu.cfs_period_us": period}, 2: {"cpu.max": f"{quota} {period}"}}
    write(tmp_path, files[version])
    assert usable_cores(tmp_path) == cores


@pytest.mark.parametrize("file", ["memory.max", "memory/memory.limit_in_bytes"])
@pytest.mark.parametrize(
    ("limit", "is_installed"), [(2**20, False), ("max", True), (2**63 - 4096, True)], ids=["less", "none", "more"]
)
def test_the_usable_memory_is_the_machine_s_or_the_container_s_limit(
    tmp_path: Path, file: str, limit: int | str, is_installed: bool
) -> None:
    write(tmp_path, {file: limit})
    installed = usable_memory(tmp_path / "missing")
    assert 2**30 < installed < 2**50
    assert usable_memory(tmp_path) == (installed if is_installed else limit)


@pytest.mark.parametrize(("given", "shown"), [({}, "'20000'"), ({"GOMP_SPINCOUNT": "77"}, "'77'")])
def test_waiting_threads_spin_for_a_limited_time_unless_configured(given: dict[str, str], shown: str) -> None:
    """libgomp prints its settings when torch is imported."""
    others = {name: value for name, value in os.environ.items() if name != "GOMP_SPINCOUNT"}
    run = subprocess.run(
        [sys.executable, "-c", "import flaskapp.captioner, torch"],
        env={**others, **given, "OMP_DISPLAY_ENV": "verbose"},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert f"GOMP_SPINCOUNT = {shown}" in run.stderr


def test_tunables_of_the_user_override_ours() -> None:
    assert with_fast_malloc({})["GLIBC_TUNABLES"].startswith("glibc.malloc.hugetlb=1:")
    given = with_fast_malloc({"GLIBC_TUNABLES": "glibc.malloc.hugetlb=0", "HOME": "/root"})
    assert given["GLIBC_TUNABLES"].endswith(":glibc.malloc.hugetlb=0")
    assert given["HOME"] == "/root"


FREE_AND_RELEASE = """
import ctypes
import os
from pathlib import Path
from flaskapp.machine import release_free_memory

def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

libc = ctypes.CDLL(None)
libc.malloc.restype, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
blocks = [libc.malloc(100_000) for _ in range(1000)]
for block in blocks:
    ctypes.memset(block, 1, 100_000)
for block in blocks[:-1]:  # the last one keeps malloc from shrinking its heap by itself
    libc.free(block)
full = resident()
release_free_memory()
print(full - resident())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc")
def test_freed_memory_is_returned_to_the_operating_system() -> None:
    run = subprocess.run(
        [sys.executable, "-c", FREE_AND_RELEASE], capture_output=True, text=True, timeout=60, check=True
    )
    assert int(run.stdout) > 90_000_000


OPENMP = """
import flaskapp.captioner, torch
from pathlib import Path
from flaskapp.captioner import captioner
from flaskapp.machine import release_threads
from tests.polling import wait_until

def tasks() -> set[str]:
    return {each.name for each in Path("/proc/self/task").iterdir()}

def started() -> set[str]:
    "Return the threads that a parallel operation starts."
    before = tasks()
    torch.ones(1 << 20).add_(1)
    return tasks() - before

torch.set_num_threads(3)
for release in (release_threads, captioner.load, release_threads):
    threads = started()
    assert len(threads) == 2, threads
    assert not started(), "they are used again"
    release()
    wait_until(lambda: not threads & tasks())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_neither_a_release_nor_loading_the_model_leaves_waiting_threads_of_openmp() -> None:
    run = subprocess.run(
        [sys.executable, "-c", OPENMP],
        env={**os.environ, "FLASKAPP_CAPTIONER_MODEL": "embedded"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert run.returncode == 0, run.stderr


def test_a_nice_thread_s_niceness_holds_for_itself_and_threads_that_it_starts() -> None:
    def niceness() -> int:
        return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

    def be_nice() -> tuple[int, int]:
        lower_priority()
        with ThreadPoolExecutor(1) as started:
            return niceness(), started.submit(niceness).result(30)

    before = niceness()
    nicer = min(before + NICE, 19)
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(be_nice).result(30) == (nicer, nicer)
    assert niceness() == before
