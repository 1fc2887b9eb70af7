"""PNG (W3C): chunks of length, kind, content and checksum."""

import struct
import zlib
from collections.abc import Iterator
from functools import partial

from flaskapp.errors import UnreadableImage
from flaskapp.images.containers.container import MAX_EXIF, MAX_PROFILE, Container, broken

SIGNATURE = b"\x89PNG\r\n\x1a\n"
MAX_CHUNKS = 100_000  # 16 MiB in chunks of 168 bytes
GREY, COLOUR = 0, 2  # colour types
HEADER = struct.Struct(">2I5B")
SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # of a pixel, by colour type
PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
"""Of an interlaced image: first column and row, steps between columns and rows."""
INFLATED_AT_ONCE = 2**20  # bytes
LONGEST = {b"tRNS": 2**8, b"eXIf": MAX_EXIF}  # most bytes of a chunk; transparency has one for each colour of a palette


def clean(data: bytes) -> Container:
    """Keep the header, the palette, the pixels, the transparency, the EXIF data and the colour profile.

    Drop text and the frames of an animation. As in libpng, an ancillary chunk that is too long or has a wrong checksum
    counts as missing. Raise UnreadableImage.
    """
    chunks: dict[bytes, bytes] = {}
    pixels = []
    for kind, content, is_right in _chunks(data):
        if kind == b"IEND":
            break
        if kind == b"IDAT":
            pixels.append(content)  # zlib's own checksum covers the pixels
        elif is_right:
            chunks.setdefault(kind, content)
        elif kind in (b"IHDR", b"PLTE"):
            raise broken("png")
    header = chunks.get(b"IHDR", b"")
    if len(header) != HEADER.size or not pixels:
        raise broken("png")
    kept = [SIGNATURE, to_chunk(b"IHDR", header)]
    for kind in (b"PLTE", b"tRNS", b"eXIf"):
        if kind in chunks and len(chunks[kind]) <= LONGEST.get(kind, len(data)):
            content = _scaled(chunks[kind], header) if kind == b"tRNS" else chunks[kind]
            kept.append(to_chunk(kind, content))
    # Pillow reads chunks in Python: one chunk of pixels is faster than thousands.
    whole = b"".join(pixels)
    kept += [to_chunk(b"IDAT", whole), to_chunk(b"IEND", b"")]
    return Container(
        b"".join(kept), profile=_inflate(chunks.get(b"iCCP", b"")), has_all_rows=partial(_has_all_rows, whole, header)
    )


def to_chunk(kind: bytes, content: bytes) -> bytes:
    checksum = zlib.crc32(content, zlib.crc32(kind))
    return b"".join([struct.pack(">I", len(content)), kind, content, struct.pack(">I", checksum)])


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes, bool]]:
    """Yield each chunk's kind, content, and whether its checksum is right. The last one may be truncated."""
    position = len(SIGNATURE)
    for _ in range(MAX_CHUNKS):
        if position + 8 > len(data):
            return
        length, kind = struct.unpack_from(">I4s", data, position)
        content = data[position + 8 : position + 8 + length]
        checksum = data[position + 8 + length : position + 12 + length]
        is_right = kind == b"IDAT" or checksum == struct.pack(">I", zlib.crc32(content, zlib.crc32(kind)))
        yield kind, content, is_right
        position += 12 + length
    raise UnreadableImage(f"the PNG has more than {MAX_CHUNKS} chunks")


def _has_all_rows(compressed: bytes, header: bytes) -> bool:
    """Whether the pixels of all rows are there. Pillow leaves missing ones black."""
    width, height, depth, colour_type, _, _, is_interlaced = HEADER.unpack(header)
    missing = 0
    for left, top, right, down in PASSES if is_interlaced else ((0, 0, 1, 1),):
        columns, rows = -(-(width - left) // right), -(-(height - top) // down)
        if columns > 0 and rows > 0:
            missing += rows * (1 + -(-columns * depth * SAMPLES.get(colour_type, 4) // 8))
    inflating = zlib.decompressobj()
    try:
        while missing > 0 and (rows_read := inflating.decompress(compressed, INFLATED_AT_ONCE)):
            missing -= len(rows_read)
            compressed = inflating.unconsumed_tail
    except zlib.error:
        return False
    return missing <= 0


def _scaled(transparent: bytes, header: bytes) -> bytes:
    """Convert the transparent colour to 8 bits: Pillow converts the samples to 8 bits, but not this colour.

    Pillow keeps the high byte of 16-bit samples: all colours with the same high bytes become transparent.
    """
    _, _, depth, colour_type, *_ = HEADER.unpack(header)
    samples = [sample for (sample,) in struct.iter_unpack(">H", transparent[: len(transparent) // 2 * 2])]
    if colour_type == GREY and depth in (2, 4):
        most = 2**depth - 1
        samples = [(sample & most) * 255 // most for sample in samples]
    elif colour_type == COLOUR and depth == 16:
        samples = [sample >> 8 for sample in samples]
    else:
        return transparent
    return struct.pack(f">{len(samples)}H", *samples)


def _inflate(content: bytes) -> bytes | None:
    """Return the profile of an iCCP chunk: a name, a zero, the method (0) and the zlib-compressed profile."""
    compressed = content.partition(b"\0")[2][1:]
    inflating = zlib.decompressobj()
    try:
        profile = inflating.decompress(compressed, MAX_PROFILE)
    except zlib.error:
        return None
    return None if inflating.unconsumed_tail else profile or None
