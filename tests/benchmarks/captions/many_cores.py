"""An estimate for processors with many cores, from batches measured on this machine's cores.

The seconds of a batch on n cores are serial + parallel / n (Amdahl's law): both parts follow from the batch's time on
one core and on all. Batches side by side then add up until they have read as many weights as the memory can deliver.
Not measured but assumed: that bandwidth, equal cores, and as many clients as all batches have images.
"""

from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch

from flaskapp.captioner.topology import CORES_PER_LANE
from tests.benchmarks.captions.checkpoints import FULL_SIZES
from tests.benchmarks.captions.engines import PRECISIONS, caption, load_engine
from tests.benchmarks.captions.roofline import Work, shortest
from tests.benchmarks.table import print_table

IMAGES = 8  # in a batch, as CAPTIONER_MAX_BATCH
MEMORY = 200e9  # bytes a second: a server with eight channels of memory
CORES = (2, 4, 8, 16, 32, 64)


class Batch(NamedTuple):
    """The costs of one batch."""

    serial: float  # seconds
    parallel: float  # core seconds
    read: float  # bytes of weights

    @classmethod
    def of(cls, alone: float, together: float, cores: int, read: float) -> "Batch":
        """Return the costs of a batch that takes these seconds on one core, and on several."""
        parallel = (alone - together) / (1 - 1 / cores)
        return cls(max(0, alone - parallel), parallel, read)  # noise can make it negative

    def images_per_second(self, cores: int, lanes: int, memory: float = MEMORY) -> float:
        """Return the rate of `lanes` batches side by side, each on its share of the cores."""
        batches = lanes / (self.serial + self.parallel * lanes / cores)
        return IMAGES * min(batches, memory / self.read)


def run(folder: Path, rounds: int) -> None:
    for precision, size_of_weight in PRECISIONS.items():
        batch = measure(folder, precision, size_of_weight, rounds)
        print_table(
            f"{folder.name}, {precision}, calculated from {batch.serial:.2f} s + {batch.parallel:.2f} core seconds and "
            f"{batch.read / 1e9:.1f} GB of weights for {IMAGES} images: images/s",
            ["cores", "one batch", f"a batch for {CORES_PER_LANE} cores", "a batch for each core"],
            [_row(batch, cores) for cores in CORES],
        )


def measure(folder: Path, precision: str, size_of_weight: int, rounds: int) -> Batch:
    side = FULL_SIZES[folder.name].image_side
    pixels = torch.randn(IMAGES, 3, side, side)
    engine = load_engine(folder, precision)
    with Work() as work:
        caption(engine, pixels)
    cores = torch.get_num_threads()
    alone, together = _seconds(partial(caption, engine, pixels), (1, cores), rounds)
    return Batch.of(alone, together, cores, work.weights * size_of_weight)


def _seconds(run: partial[object], threads: Iterable[int], rounds: int) -> list[float]:
    before = torch.get_num_threads()
    try:
        seconds = []
        for number in threads:
            torch.set_num_threads(number)
            seconds.append(shortest(run, rounds))
        return seconds
    finally:
        torch.set_num_threads(before)


def _row(batch: Batch, cores: int) -> list[str]:
    lanes = (1, max(2, cores // CORES_PER_LANE), cores)
    return [str(cores), *(f"{batch.images_per_second(cores, number):.1f}" for number in lanes)]
