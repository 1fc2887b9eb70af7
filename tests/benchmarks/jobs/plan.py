"""The arithmetic of many machines: how long so many images take, and which of the parts they share is full first."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Shared:
    """A part that there is once, and how much of its capacity work takes."""

    name: str
    capacity: float  # what it can give in a second
    per_image: float  # what an image takes of it
    per_worker: float  # what a worker takes of it in a second, whether it captions or not
    remedy: str  # where it is full

    def load(self, images_per_second: float, workers: float) -> float:
        """The share of it that is taken; more than 1 cannot be."""
        return (images_per_second * self.per_image + workers * self.per_worker) / self.capacity


@dataclass(frozen=True)
class Fleet:
    machines: int
    workers: int  # of each machine
    rate: float  # images a second of each worker

    @property
    def all_workers(self) -> int:
        return self.machines * self.workers

    @property
    def images_per_second(self) -> float:
        """If nothing that they share holds them up."""
        return self.all_workers * self.rate


def first_full(fleet: Fleet, parts: Sequence[Shared]) -> Shared:
    return max(parts, key=lambda part: part.load(fleet.images_per_second, fleet.all_workers))


def most_machines(fleet: Fleet, part: Shared) -> float:
    """With how many machines like the fleet's a part is just full."""
    return fleet.machines / part.load(fleet.images_per_second, fleet.all_workers)


def seconds(images: int, fleet: Fleet, parts: Sequence[Shared]) -> float:
    """At the pace of the fleet, or of the part that is full first. Infinite where idle workers alone fill it."""
    return images / min(fleet.images_per_second, *(_most_images(fleet, part) for part in parts))


def _most_images(fleet: Fleet, part: Shared) -> float:
    left = part.capacity - fleet.all_workers * part.per_worker
    if left <= 0:
        return 1e-9
    return left / part.per_image
