"""TIFF 6: a directory of tags, anywhere in the file."""

import struct

from flaskapp.errors import UnreadableImage
from flaskapp.images.containers.container import Container, broken
from flaskapp.images.formats import refusal

WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC, SAMPLES = 256, 257, 258, 259, 262, 277
STRIPS, TILES, TILE_WIDTH, TILE_HEIGHT = 273, 324, 322, 323
SUBFILE, SUB_DIRECTORIES, DNG_VERSION = 254, 330, 50706
SAMPLE_FORMAT, SIGNED, FLOAT = 339, 2, 3
WHITE_IS_ZERO = 0
SHORT, LONG = 3, 4  # types of a value
ENTRY = 12  # bytes
GREY_FLOATS = (1, 1), (1, 32)  # samples and bits; Pillow reads no other floating-point numbers

# None, CCITT, LZW, JPEG, Deflate, PackBits. The others are rare, and some decoders (LZMA, Zstandard) allocate as much
# memory as the file says. libtiff itself reads at most 100 scans of a JPEG.
COMPRESSIONS = (1, 2, 3, 4, 5, 7, 8, 32773, 32946)
MAX_PARTS = 100_000  # strips or tiles; Pillow lists them in Python
LARGE_TILE = 2**22  # pixels; libtiff allocates a whole tile even for a smaller image


def clean(data: bytes) -> Container:
    """Check the first directory, and bound the cost of its image.

    Raise UnreadableImage, and UnsupportedImageFormat for raw photographs (their first image is a preview) and for other
    compressions and floating-point colours.
    """
    tags = _tags(data)
    width, height = (tags.get(tag, (0, 0))[1] for tag in (WIDTH, HEIGHT))
    if not (width and height):
        raise broken("tiff")
    if DNG_VERSION in tags or (SUB_DIRECTORIES in tags and tags.get(SUBFILE, (1, 0))[1] & 1):
        raise refusal("a raw photograph")
    if (compression := tags.get(COMPRESSION, (1, 1))[1]) not in COMPRESSIONS:
        raise refusal(f"a TIFF of compression {compression}")
    _check_numbers(tags)
    parts = max(tags.get(tag, (0, 0))[0] for tag in (STRIPS, TILES))
    if parts > MAX_PARTS:
        raise UnreadableImage(f"the TIFF has more than {MAX_PARTS} strips")
    tile = tags.get(TILE_WIDTH, (1, 1))[1] * tags.get(TILE_HEIGHT, (1, 1))[1]
    if tile > max(LARGE_TILE, 2 * width * height):
        raise UnreadableImage("the TIFF has tiles that are larger than the image")
    samples = tags.get(SAMPLES, (1, 1))[1]
    bits = tags[BITS][1] if BITS in tags and tags[BITS][0] == 1 else 16  # several values: assume 16
    return Container(data, size=(width, height), extra=max(width * height, tile) * samples * bits // 8)


def _check_numbers(tags: dict[int, tuple[int, int]]) -> None:
    """Raise UnsupportedImageFormat for numbers that Pillow does not read, or reads as others."""
    kind, (_, bits) = tags.get(SAMPLE_FORMAT, (1, 1))[1], tags.get(BITS, (1, 1))
    if kind == FLOAT and (tags.get(SAMPLES, (1, 1)), tags.get(BITS)) != GREY_FLOATS:
        raise refusal("a TIFF of floating-point colours, or of 64-bit floating-point numbers")
    if kind == SIGNED or (kind != FLOAT and bits == 32):
        raise refusal("a TIFF of signed or 32-bit whole numbers")
    if bits == 16 and tags.get(PHOTOMETRIC, (1, 1))[1] == WHITE_IS_ZERO:
        raise refusal("a TIFF of 16-bit grey in which 0 is white")


def _tags(data: bytes) -> dict[int, tuple[int, int]]:
    """Return each tag's number of values, and its value if it is a single SHORT or LONG, else 0.

    The value of SAMPLE_FORMAT is the first of several.
    """
    order = "<" if data[:2] == b"II" else ">"
    try:
        (start,) = struct.unpack_from(f"{order}I", data, 4)
        (count,) = struct.unpack_from(f"{order}H", data, start)
        tags = {}
        for position in range(start + 2, start + 2 + count * ENTRY, ENTRY):
            tag, kind, values = struct.unpack_from(f"{order}2HI", data, position)
            value = struct.unpack_from(f"{order}{'H' if kind == SHORT else 'I'}", data, position + 8)[0]
            tags[tag] = values, value if kind in (SHORT, LONG) and values == 1 else 0
            if tag == SAMPLE_FORMAT and kind == SHORT:
                tags[tag] = values, _first_short(data, order, position + 8, values)
        return tags
    except struct.error:
        raise broken("tiff") from None


def _first_short(data: bytes, order: str, position: int, values: int) -> int:
    """Return the first of several SHORTs. Only two fit into the tag; of more, the tag has the position."""
    if values > 2:
        (position,) = struct.unpack_from(f"{order}I", data, position)
    (value,) = struct.unpack_from(f"{order}H", data, position)
    return int(value)
