"""The batcher's overhead for a single request, its batch sizes, and the gain of joining a running batch."""

import math
import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from flaskapp.captioner.batcher import Batcher
from flaskapp.captioner.engine.engine import Engine
from flaskapp.captioner.generation import Generation
from flaskapp.captioner.runner import Runner
from flaskapp.captioner.work_item import WorkItem
from flaskapp.machine import usable_cores
from tests.benchmarks.captions.engines import SETTINGS, load_checkpoint
from tests.benchmarks.captions.load import closed_loop, poisson
from tests.benchmarks.table import print_table

BATCHES = (8, 16)  # values of CAPTIONER_MAX_BATCH
CLIENTS, IMAGES, ARRIVALS = 16, 64, 40
DEADLINE = math.inf  # seconds: no request is refused


class JoiningRunner(Runner):
    """Lets images join a running batch at its next decode step."""

    def __init__(self, engine: Engine, take: Callable[[int], list[WorkItem]]) -> None:
        super().__init__(engine, partial(engine.use_threads, usable_cores()))
        self._take = take

    def step(self) -> None:
        super().step()
        if self.running and (items := self._take(len(self.running))):
            self.start(items)


class JoiningBatcher(Batcher):
    def __init__(self, engine: Engine, *arguments: Any, **options: Any) -> None:
        super().__init__(engine, *arguments, **options)
        (lane,) = self.lanes
        lane.runner = JoiningRunner(
            engine,
            lambda running: self.take(lane, self.max_batch - running, lambda item: item.generation.fallback is None),
        )


def run(folder: Path, rounds: int) -> None:
    engine = Engine(load_checkpoint(folder), "fp32", torch.device("cpu"))
    generation = engine.resolve(SETTINGS)
    pixels = list(torch.randn(IMAGES, 3, 224, 224))
    _print_single(engine, generation, pixels[: 4 * rounds])
    rate = _print_batches(engine, generation, pixels)
    _print_joining(engine, generation, pixels[:ARRIVALS], 0.7 * rate, rounds)


def _make(engine: Engine, kind: type[Batcher] = Batcher, max_batch: int = 8) -> Batcher:
    return kind(engine, cores=usable_cores(), max_batch=max_batch, max_waiting=IMAGES)


def _send(batcher: Batcher, generation: Generation, image: Tensor) -> None:
    batcher.caption([image], generation, DEADLINE)


def _print_single(engine: Engine, generation: Generation, pixels: Sequence[Tensor]) -> None:
    batcher = _make(engine)
    direct, through = [], []
    for image in pixels:
        start = time.perf_counter()
        engine.add([image], [generation])
        while engine.running:
            engine.step()
        middle = time.perf_counter()
        _send(batcher, generation, image)
        direct.append(middle - start)
        through.append(time.perf_counter() - middle)
    batcher.close()
    ratio = statistics.median(mine / alone for mine, alone in zip(through, direct, strict=True))
    print_table(
        "A single request: seconds",
        ["engine alone", "through the batcher", ""],
        [[f"{statistics.median(direct):.3f}", f"{statistics.median(through):.3f}", f"{ratio:.3f}x"]],
    )


def _print_batches(engine: Engine, generation: Generation, pixels: Sequence[Tensor]) -> float:
    """Print the rates of all batch sizes. Return the images a second of the first one."""
    rows, rates = [], []
    for size in BATCHES:
        batcher = _make(engine, max_batch=size)
        load = closed_loop(partial(_send, batcher, generation), pixels, CLIENTS)
        batcher.close()
        rates.append(load.rate)
        (lane,) = batcher.lanes
        mean = lane.runner.steps_of_images / lane.runner.steps
        rows.append([str(size), f"{mean:.1f}", f"{load.rate:.2f}", f"{load.percentile(50):.1f}"])
    print_table(
        f"{CLIENTS} clients of one batcher, fp32",
        ["max batch", "mean images in a step", "captions/s", "p50 in s"],
        rows,
    )
    return rates[0]


def _print_joining(engine: Engine, generation: Generation, pixels: Sequence[Tensor], rate: float, rounds: int) -> None:
    rows = []
    latencies: dict[type[Batcher], list[float]] = {Batcher: [], JoiningBatcher: []}
    for number in range(rounds):
        for kind, seconds in latencies.items():
            batcher = _make(engine, kind)
            seconds += poisson(partial(_send, batcher, generation), pixels, rate, seed=number).latencies
            batcher.close()
    for name, kind in (("waits for the running batch", Batcher), ("joins at the next step", JoiningBatcher)):
        p50, p95 = statistics.quantiles(latencies[kind], n=20)[9], statistics.quantiles(latencies[kind], n=20)[18]
        rows.append([name, f"{p50:.2f}", f"{p95:.2f}"])
    print_table(f"Random arrivals, {rate:.2f} a second (70% load): seconds", ["a new image", "p50", "p95"], rows)
