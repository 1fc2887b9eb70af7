import os
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import pytest
import torch

from flaskapp.captioner.batcher import Batcher
from flaskapp.captioner.topology import ALL_CORES, cache_domains, plan_lanes
from flaskapp.free_cores import FreeCores
from flaskapp.machine import usable_cores
from tests.captioner.batching import SETTINGS
from tests.captioner.stand_in import StandIn, Word
from tests.polling import wait_until

linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux lets a thread choose its cores")


def write_machine(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caches: Sequence[str], nodes: Sequence[str] = (), allowed: str = ""
) -> int:
    """Write the kernel's files about a machine whose last-level caches serve these cores. Return the allowed cores."""
    cores = [core for cache in caches for core in parse(cache)]
    for cache in caches:
        for core in parse(cache):
            for index, (level, shared) in enumerate([("1", str(core)), ("1", str(core)), ("3", cache)]):
                own = folder / f"cpu/cpu{core}/cache/index{index}"
                own.mkdir(parents=True)
                (own / "level").write_text(f"{level}\n")
                (own / "shared_cpu_list").write_text(f"{shared}\n")
    for number, node in enumerate(nodes):
        (folder / f"node/node{number}").mkdir(parents=True)
        (folder / f"node/node{number}/cpulist").write_text(f"{node}\n")
    kept = parse(allowed) if allowed else set(cores)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: kept, raising=False)
    return len(kept)


def parse(cores: str) -> set[int]:
    spans = [part.split("-") for part in cores.split(",")]
    return {core for span in spans for core in range(int(span[0]), int(span[-1]) + 1)}


@pytest.mark.parametrize(
    ("caches", "nodes", "allowed", "domains"),
    [
        (["0-1"], ["0-1"], "", ["0-1"]),
        (["0-7", "8-15"], ["0-15"], "", ["0-7", "8-15"]),
        (["0-3,8-11", "4-7,12-15"], [], "", ["0-3,8-11", "4-7,12-15"]),  # with hyperthreads
        (["0-15"], ["0-7", "8-15"], "", ["0-7", "8-15"]),  # a cache that two NUMA nodes share
        (["0-7", "8-15"], ["0-15"], "2-3,8-12", ["2-3", "8-12"]),  # taskset, or a cpuset of a container
        (["0", "1", "2"], [], "", ["0", "1", "2"]),
    ],
)
def test_cores_are_grouped_by_last_level_cache_and_numa_node(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caches: list[str],
    nodes: list[str],
    allowed: str,
    domains: list[str],
) -> None:
    write_machine(tmp_path, monkeypatch, caches, nodes, allowed)
    assert cache_domains(tmp_path) == [parse(domain) for domain in domains]


def test_without_files_about_caches_all_cores_are_one_group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2}, raising=False)
    assert cache_domains(tmp_path) == [{0, 1, 2}]


def test_this_machine_s_groups_have_each_allowed_core_once() -> None:
    if hasattr(os, "sched_getaffinity"):
        cores = [core for domain in cache_domains() for core in domain]
        assert sorted(cores) == sorted(os.sched_getaffinity(os.getpid()))


@pytest.mark.parametrize(
    ("caches", "lanes"),
    [
        (["0"], ["all"]),
        (["0-1"], ["all"] * 2),
        (["0-7"], ["all"] * 2),
        (["0-31"], ["all"] * 8),
        (["0-7", "8-15"], ["all", "8-15", "0-7", "8-15"]),
        (["0-5", "6-11", "12-17"], ["all", "6-11", "12-17"]),
        (["0-3", "4-15"], ["all", "4-15", "4-15", "4-15"]),
        ([str(core) for core in range(8)], ["all"] * 2),  # a hypervisor that shows a cache for each core
    ],
)
def test_lanes_stay_on_a_cache_where_there_are_several(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caches: list[str], lanes: list[str]
) -> None:
    cores = write_machine(tmp_path, monkeypatch, caches)
    assert plan_lanes(cores, tmp_path) == [ALL_CORES if lane == "all" else parse(lane) for lane in lanes]


def test_under_a_cpu_limit_lanes_may_run_on_all_cores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_machine(tmp_path, monkeypatch, ["0-7", "8-15"])
    assert plan_lanes(8, tmp_path) == [ALL_CORES] * 2


class Observed(StandIn):
    """Notes the cores on which each of two siblings runs. Their first steps wait for each other."""

    seen: ClassVar[list[set[int]]] = []
    first_steps: ClassVar[threading.Barrier] = threading.Barrier(2)
    steps = 0

    def sibling(self) -> StandIn:
        return Observed(gate=self.gate, has_begun=self.has_begun, batches=self.batches, generated=self.generated)

    def step(self) -> list[Word]:
        self.steps += 1
        if self.steps == 1:
            self.first_steps.wait(30)
        self.seen.append(os.sched_getaffinity(0))
        return super().step()


@linux
def test_a_lane_runs_on_its_cores_and_the_first_one_on_all() -> None:
    everywhere = os.sched_getaffinity(0)
    one = frozenset([max(everywhere)])
    engine = Observed()
    engine.gate.set()
    batcher = Batcher(engine, cores=usable_cores(), max_batch=1, max_waiting=9, lanes=[ALL_CORES, one])
    batcher.caption([f"word {number}" for number in range(8)], SETTINGS, 30)
    batcher.close()
    assert {frozenset(each) for each in engine.seen} == {frozenset(everywhere), one}
    assert os.sched_getaffinity(0) == everywhere, "of this thread"


@linux
def test_a_lane_has_no_more_threads_than_its_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    threads: list[int] = []
    engine = StandIn()
    engine.gate.set()
    monkeypatch.setattr(engine, "use_threads", threads.append)
    monkeypatch.setattr(FreeCores, "count", lambda _: 8)
    own = frozenset([max(os.sched_getaffinity(0))])
    batcher = Batcher(engine, cores=8, max_batch=1, max_waiting=9, lanes=[own])
    batcher.caption(["word"], SETTINGS, 30)
    batcher.close()
    assert set(threads) == {1}


@linux
def test_an_idle_lane_keeps_no_waiting_threads() -> None:
    started: set[str] = set()
    engine = StandIn()
    engine.gate.set()

    def compute() -> None:
        torch.set_num_threads(3)
        before = tasks()
        torch.ones(1 << 20).add_(1)
        started.update(tasks() - before)

    engine.on_step = compute
    batcher = Batcher(engine, cores=3, max_batch=1, max_waiting=9)
    batcher.caption(["word"], SETTINGS, 30)
    assert len(started) >= 2, "an operation with three threads"
    wait_until(lambda: not started & tasks())
    assert batcher.lanes[0].thread is not None, "the lane itself waits for the next request"
    batcher.close()


def tasks() -> set[str]:
    return {each.name for each in Path("/proc/self/task").iterdir()}
