"""A collection whose members are made one after the other, as they are asked for: its size is known before any is."""

from collections.abc import Callable, Collection, Iterator
from typing import Generic, TypeVar

Source = TypeVar("Source")
Made = TypeVar("Made")


class Lazily(Collection[Made], Generic[Source, Made]):
    def __init__(self, make: Callable[[Source], Made], sources: Collection[Source]) -> None:
        self._make, self._sources = make, sources

    def __len__(self) -> int:
        return len(self._sources)

    def __iter__(self) -> Iterator[Made]:
        return map(self._make, self._sources)

    def __contains__(self, value: object) -> bool:
        return any(value is each for each in self)
