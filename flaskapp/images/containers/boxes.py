"""Boxes (ISO 14496-12): the container of HEIC and AVIF."""

import struct
from collections.abc import Iterator

FULL = 4  # bytes of version and flags at the start of a full box
MAX_BOXES = 10_000
MAX_TABLE = 2**18  # bytes of a box that lists items, properties or references; 1,000 tiles take 40 kB

BROKEN = (StopIteration, KeyError, IndexError, struct.error)  # errors while reading a broken file


def boxes_of(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield the kind and the content of each box. Raise IndexError after MAX_BOXES."""
    position = 0
    for _ in range(MAX_BOXES):
        if position + 8 > len(data):
            return
        size, kind = struct.unpack_from(">I4s", data, position)
        head = 8
        if size == 1:
            (size,), head = struct.unpack_from(">Q", data, position + 8), 16
        end = position + size if size else len(data)
        if end < position + head:
            return
        yield kind, data[position + head : end]
        position = end
    raise IndexError("too many boxes")


def meta_of(data: bytes) -> bytes:
    """Return the content of the box "meta", whose boxes describe the items of a file."""
    return next(content for kind, content in boxes_of(data) if kind == b"meta")[FULL:]


def table_of(boxes: dict[bytes, bytes], kind: bytes) -> bytes:
    """Return the content of a box of numbers. Raise IndexError if reading it would take seconds."""
    if len(boxes[kind]) > MAX_TABLE:
        raise IndexError("the table is too long")
    return boxes[kind]


class Numbers:
    """Reads consecutive unsigned integers of several sizes."""

    def __init__(self, data: bytes, position: int) -> None:
        self._data, self._position = data, position

    def read(self, size: int) -> int:
        end = self._position + size
        if end > len(self._data):
            raise IndexError("the numbers end")
        number = int.from_bytes(self._data[self._position : end])
        self._position = end
        return number
