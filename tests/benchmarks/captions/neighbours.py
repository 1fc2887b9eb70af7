"""Captions of a single client while other processes use the cores: busy loops, or a second captioner."""

import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import torch

from flaskapp.captioner.batcher import Batcher
from flaskapp.captioner.topology import plan_lanes
from flaskapp.machine import usable_cores
from tests.benchmarks.captions.engines import PRECISIONS, SETTINGS, load_engine
from tests.benchmarks.table import print_table

SECONDS = 10  # of each measurement
LOOP = [sys.executable, "-c", "while True: pass"]


def run(folder: Path, rounds: int) -> None:
    cores = usable_cores()
    captioner = [sys.executable, "-m", __name__, str(folder)]
    rows = []
    for precision in PRECISIONS:
        command = [*captioner, precision]
        neighbours = [[], [LOOP], [LOOP] * cores, [command]]
        medians = [min(_measure(command, each) for _ in range(rounds)) for each in neighbours]
        rows.append([precision, *(f"{1000 * median:.0f}" for median in medians)])
    columns = ["", "alone", "one busy loop", f"{cores} busy loops", "a second captioner"]
    print_table("A single client, milliseconds a caption beside other processes", columns, rows)


def _measure(command: Sequence[str], neighbours: Sequence[Sequence[str]]) -> float:
    """Return the median of a captioner's captions, in seconds, while other programs run."""
    with ExitStack() as stack:
        for each in neighbours:
            process = stack.enter_context(subprocess.Popen(each, stdout=subprocess.DEVNULL))
            stack.callback(process.kill)
        return float(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)


def _caption_alone(folder: Path, precision: str) -> float:
    """Caption one image after the other for SECONDS. Return the median in seconds."""
    with ThreadPoolExecutor(1) as pool:  # as in a server: OpenMP's threads of the loading thread end with it
        engine = pool.submit(load_engine, folder, precision).result()
    cores = usable_cores()
    batcher = Batcher(engine, cores=cores, lanes=plan_lanes(cores), max_batch=8, max_waiting=1)
    generation = engine.resolve(SETTINGS)
    measured: list[float] = []
    began = time.monotonic()
    while time.monotonic() - began < SECONDS or len(measured) < 5:
        start = time.perf_counter()
        batcher.caption([torch.randn(3, 224, 224)], generation, deadline=1000)
        measured.append(time.perf_counter() - start)
    batcher.close()
    return statistics.median(measured[len(measured) // 5 :])


if __name__ == "__main__":
    print(_caption_alone(Path(sys.argv[1]), sys.argv[2]))
