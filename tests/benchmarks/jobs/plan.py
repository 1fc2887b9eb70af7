"""Capacity planning: how long a fleet needs for its images, and which shared part is the bottleneck."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Shared:
    """A part that all machines share: its capacity and the demand for it."""

    name: str
    capacity: float  # units a second
    per_image: float  # units
    per_worker: float  # units a second, even for an idle worker
    remedy: str  # advice for a saturated part

    def load(self, images_per_second: float, workers: float) -> float:
        """Return the utilisation; above 1 the part is overloaded."""
        return (images_per_second * self.per_image + workers * self.per_worker) / self.capacity


@dataclass(frozen=True)
class Fleet:
    machines: int
    workers: int  # on each machine
    rate: float  # images a second for each worker

    @property
    def all_workers(self) -> int:
        return self.machines * self.workers

    @property
    def images_per_second(self) -> float:
        """Return the rate without a bottleneck."""
        return self.all_workers * self.rate


def bottleneck(fleet: Fleet, parts: Sequence[Shared]) -> Shared:
    return max(parts, key=lambda part: part.load(fleet.images_per_second, fleet.all_workers))


def most_machines(fleet: Fleet, part: Shared) -> float:
    """Return how many machines like the fleet's saturate a part."""
    return fleet.machines / part.load(fleet.images_per_second, fleet.all_workers)


def seconds(images: int, fleet: Fleet, parts: Sequence[Shared]) -> float:
    """Return the seconds at the rate of the fleet or the bottleneck; huge if idle workers alone saturate a part."""
    return images / min(fleet.images_per_second, *(_most_images(fleet, part) for part in parts))


def _most_images(fleet: Fleet, part: Shared) -> float:
    left = part.capacity - fleet.all_workers * part.per_worker
    if left <= 0:
        return 1e-9
    return left / part.per_image
