"""A Hypothesis strategy: a real image file, and what can happen to its bytes."""

import struct
from collections.abc import Callable
from random import Random

from hypothesis import strategies as st

from tests.fuzz.samples import png_chunk, samples

Mutation = Callable[[Random, bytearray], None]

SIGNATURE = 12  # bytes of the longest, which is WebP's
HEADER = 64  # bytes in which formats say how large they are, and of what kind
NUMBERS = (0, 1, 2, 7, 8, 27, 255, 256, 4096, 8191, 32767, 32768, 65535, 65536, 2**31 - 1, 2**31, 2**32 - 1)
PNG = b"\x89PNG\r\n\x1a\n"


@st.composite
def broken_images(draw: st.DrawFn) -> bytes:
    """The bytes of a sample after up to three mutations.

    Where they happen is drawn evenly from a seed: Hypothesis' own integers prefer the ends, and so the signature.
    """
    data = bytearray(draw(st.sampled_from(sorted(samples().items())))[1])
    mutations = draw(st.lists(st.sampled_from(MUTATIONS), min_size=1, max_size=3))
    random = Random(draw(st.integers(0, 2**32 - 1)))
    for mutate in mutations:
        mutate(random, data)
    return _with_right_checksums(bytes(data)) if random.random() < 0.8 else bytes(data)


def _position(random: Random, data: bytearray) -> int:
    """Anywhere, but one time in three in the header, and seldom in the signature: without it nothing is decoded."""
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
    """Where a length, a width or a count of colours may be: two or four bytes in either order."""
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
    """The rest comes from another file, perhaps of another format."""
    other = random.choice(sorted(samples().items()))[1]
    data[_position(random, data) :] = other[random.randint(0, len(other)) :]


MUTATIONS: tuple[Mutation, ...] = (_flip, _overwrite, _write_number, _delete, _duplicate, _truncate, _splice)


def _with_right_checksums(data: bytes) -> bytes:
    """If it is a PNG: with every chunk passing its check, so that what it says is believed."""
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
