"""A Hypothesis strategy for mutated image files."""

import itertools
import re
import struct
from collections.abc import Callable, Iterator
from random import Random

from hypothesis import strategies as st

from tests.fuzz.samples import png_chunk, samples

Mutation = Callable[[Random, bytearray], None]

SIGNATURE = 12  # bytes of the longest signature, WebP's
HEADER = 64  # bytes that contain sizes and kinds
NUMBERS = (0, 1, 2, 7, 8, 27, 255, 256, 4096, 8191, 32767, 32768, 65535, 65536, 2**31 - 1, 2**31, 2**32 - 1)
MAX_ADDED = 2**17  # bytes of repeated parts; Werkzeug keeps forms of up to 500 kB in memory
PNG = b"\x89PNG\r\n\x1a\n"


@st.composite
def broken_images(draw: st.DrawFn) -> bytes:
    """Draw the bytes of a sample after up to three mutations.

    Positions are drawn uniformly from a seed: Hypothesis' integers prefer the ends, and so the signature.
    """
    data = bytearray(draw(st.sampled_from(sorted(samples().items())))[1])
    mutations = draw(st.lists(st.sampled_from(MUTATIONS), min_size=1, max_size=3))
    random = Random(draw(st.integers(0, 2**32 - 1)))
    for mutate in mutations:
        mutate(random, data)
    return _with_right_checksums(bytes(data)) if random.random() < 0.8 else bytes(data)


def _position(random: Random, data: bytearray) -> int:
    """Return a position, one time in three in the header, seldom in the signature, without which nothing is decoded."""
    end = min(HEADER, len(data)) if random.random() < 1 / 3 else len(data)
    start = 0 if random.random() < 0.05 else min(SIGNATURE, end)
    return random.randint(start, end)


def _flip(random: Random, data: bytearray) -> None:
    for _ in range(random.randint(1, 8)):
        position = _position(random, data)
        if position < len(data):
            data[position] ^= 1 << random.randrange(8)


def _overwrite(random: Random, data: bytearray) -> None:
    start, size = _position(random, data), random.randint(1, 16)
    data[start : start + size] = random.randbytes(size)


def _write_number(random: Random, data: bytearray) -> None:
    """Overwrite two or four bytes, in either byte order, which may be a length, a width or a count of colours."""
    start, code = _position(random, data), random.choice((">H", "<H", ">I", "<I"))
    size = struct.calcsize(code)
    data[start : start + size] = struct.pack(code, random.choice(NUMBERS) % 256**size)


def _delete(random: Random, data: bytearray) -> None:
    start = _position(random, data)
    del data[start : start + random.randint(1, 64)]


def _duplicate(random: Random, data: bytearray) -> None:
    start, size = _position(random, data), random.randint(1, 64)
    data[start:start] = data[start : start + size]


def _truncate(random: Random, data: bytearray) -> None:
    del data[_position(random, data) :]


def _splice(random: Random, data: bytearray) -> None:
    """Replace the rest with that of another file, possibly of another format."""
    other = random.choice(sorted(samples().items()))[1]
    data[_position(random, data) :] = other[random.randint(0, len(other)) :]


def _write_side(random: Random, data: bytearray) -> None:
    """Overwrite a side of the image or of one of its parts."""
    sides = list(_sides(bytes(data)))
    if sides:
        position, code = random.choice(sides)
        size = struct.calcsize(code)
        if position + size <= len(data):
            data[position : position + size] = struct.pack(code, random.choice(NUMBERS) % 256**size)


def _sides(data: bytes) -> Iterator[tuple[int, str]]:
    """Yield the positions of sides in a file, with their struct format."""
    if data.startswith(PNG):
        yield from ((16, ">I"), (20, ">I"))
        for match in re.finditer(b"fcTL", data):
            yield from ((match.end() + 4, ">I"), (match.end() + 8, ">I"))
    elif data.startswith(b"\xff\xd8"):
        for match in re.finditer(rb"\xff[\xc0-\xc2]", data):
            yield from ((match.end() + 3, ">H"), (match.end() + 5, ">H"))
    elif data.startswith(b"GIF"):
        yield from ((6, "<H"), (8, "<H"))
        for match in re.finditer(b",", data):
            yield from ((match.end() + 4, "<H"), (match.end() + 6, "<H"))
    elif data.startswith(b"BM"):
        yield from ((18, "<I"), (22, "<I"))
    elif data.startswith(b"RIFF"):
        yield from ((24, "<H"), (26, "<H"), (27, "<H"))
    elif data.startswith(b"II*\0"):
        for match in re.finditer(
            rb"[\x00\x01\x11\x16\x17\x42\x43]\x01[\x03\x04]\x00", data
        ):  # tags of sides and of parts
            yield from ((match.end(), "<I"), (match.end() + 4, "<I"))
    for match in re.finditer(b"ispe", data):
        yield from ((match.end() + 4, ">I"), (match.end() + 8, ">I"))


def _repeat_part(random: Random, data: bytearray) -> None:
    """Repeat a chunk, segment, scan, frame or box many times, like a decompression bomb."""
    parts = list(_parts(bytes(data)))
    if parts:
        start, end = random.choice(parts)
        data[end:end] = data[start:end] * min(random.choice((1, 10, 150, 5000)), MAX_ADDED // max(1, end - start))


def _parts(data: bytes) -> Iterator[tuple[int, int]]:
    """Return the positions of a file's parts, which start with their lengths."""
    if data.startswith(b"\xff\xd8"):
        starts = [match.start() for match in re.finditer(rb"\xff[\xc0-\xcf\xd8-\xfe]", data)]
        yield from itertools.pairwise([*starts, len(data)])
    elif data.startswith(b"GIF"):
        starts = [match.start() for match in re.finditer(rb"!|,", data)]
        yield from itertools.pairwise([*starts, len(data)])
    elif data.startswith((PNG, b"RIFF")):
        position, code, beside = (8, ">I", 12) if data.startswith(PNG) else (12, "<4xI", 8)
        while position + 8 <= len(data):
            end = position + beside + struct.unpack_from(code, data, position)[0]
            yield position, min(end, len(data))
            position = end
    elif data[4:8] == b"ftyp":
        for match in re.finditer(
            rb"....(?:meta|iloc|iprp|ipco|ispe|ipma|iref|dimg|auxl|infe|mdat|moov)", data, re.DOTALL
        ):
            size = int.from_bytes(match[0][:4])
            yield match.start(), min(match.start() + size, len(data))


MUTATIONS: tuple[Mutation, ...] = (
    _flip, _overwrite, _write_number, _delete, _duplicate, _truncate, _splice, _write_side, _repeat_part
)  # fmt: skip


def _with_right_checksums(data: bytes) -> bytes:
    """Correct the checksums of a PNG, so that decoders accept its chunks."""
    if not data.startswith(PNG):
        return data
    repaired, position = PNG, len(PNG)
    while position + 12 <= len(data):
        (size,) = struct.unpack_from(">I", data, position)
        content = data[position + 8 : position + 8 + size]
        if len(content) < size:
            break
        repaired += png_chunk(data[position + 4 : position + 8], content)
        position += 12 + size
    return repaired + data[position:]
