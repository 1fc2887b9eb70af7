"""A collection of known size that makes its members one at a time, during iteration."""

from collections.abc import Callable, Collection, Iterator
from typing import TypeVar

Member = TypeVar("Member")


class SizedIterable(Collection[Member]):
    def __init__(self, size: int, iterate: Callable[[], Iterator[Member]]) -> None:
        self._size, self._iterate = size, iterate

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[Member]:
        return self._iterate()

    def __contains__(self, value: object) -> bool:
        return any(value is each for each in self)
