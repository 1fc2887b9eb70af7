"""Files that lack pixels, and TIFFs whose numbers would be read as others, are refused: no pixels are invented."""

import struct
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image

from flaskapp.errors import UnreadableImage, UnsupportedImageFormat
from tests import image_files
from tests.test_images import assert_quarters, decode, quarters, to_bytes

NOISE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (60, 40, 3), np.uint8))
END = b"\xff\xd9"
SIGNATURE = b"\x89PNG\r\n\x1a\n"
COLOURS = np.asarray(quarters().convert("RGB"))
SHORT, LONG = 3, 4  # types of a TIFF's values


@pytest.mark.parametrize("options", [{}, {"subsampling": 0}, {"restart_marker_blocks": 2}, {"optimize": True}])
@pytest.mark.parametrize(("missing", "end"), [(6, b""), (10, b""), (100, b""), (1000, b""), (100, END), (1000, END)])
def test_a_jpeg_that_lacks_pixels_is_refused_also_if_it_has_an_end(
    missing: int, options: dict[str, Any], end: bytes
) -> None:
    with pytest.raises(UnreadableImage, match="jpeg image is broken or cut short"):
        decode(to_bytes(NOISE, "JPEG", **options)[: -missing - len(END)] + end)


@pytest.mark.parametrize("size", [(16, 16), (17, 33), (40, 60)])
@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_that_ends_with_grey_is_read(size: tuple[int, int], progressive: bool) -> None:
    grey = Image.new("RGB", size, (128, 128, 128))
    assert (decode(to_bytes(grey, "JPEG", progressive=progressive)).pixels == 128).all()


def png(rows: bytes, *, interlaced: bool = False, height: int = 60) -> bytes:
    """Return an RGB image of 40 columns with these rows, each with its filter."""
    header = struct.pack(">2I5B", 40, height, 8, 2, 0, 0, interlaced)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    return SIGNATURE + b"".join(image_files.chunk(kind, content) for kind, content in chunks)


def interlaced_rows() -> bytes:
    """Return the rows of the seven passes of COLOURS (W3C PNG, section 8.1)."""
    passes = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
    return b"".join(
        b"\0" + row.tobytes() for left, top, right, down in passes for row in COLOURS[top::down, left::right]
    )


ROWS = b"".join(b"\0" + row.tobytes() for row in COLOURS)


@pytest.mark.parametrize("share", [0.3, 0.5, 0.99])
@pytest.mark.parametrize(("rows", "interlaced"), [(ROWS, False), (interlaced_rows(), True)])
def test_a_png_that_lacks_rows_is_refused(rows: bytes, interlaced: bool, share: float) -> None:
    assert_quarters(decode(png(rows, interlaced=interlaced)).pixels)
    with pytest.raises(UnreadableImage, match="png image is broken or cut short"):
        decode(png(rows[: int(share * len(rows))], interlaced=interlaced))


@pytest.mark.parametrize("interlaced", [False, True])
def test_a_png_that_ends_with_black_rows_is_read(interlaced: bool) -> None:
    assert not decode(png(bytes(len(interlaced_rows() if interlaced else ROWS)), interlaced=interlaced)).pixels.any()


def tiff(planes: list[bytes], *, bits: int, photometric: int, samples: int, format: int = 1, order: str = "<") -> bytes:
    """Return an uncompressed image of the size of COLOURS, with one strip for each plane."""
    height, width = COLOURS.shape[:2]
    values = {
        256: (LONG, [width]), 257: (LONG, [height]), 258: (SHORT, [bits] * samples), 259: (SHORT, [1]),
        262: (SHORT, [photometric]), 273: (LONG, [0] * len(planes)), 277: (SHORT, [samples]), 278: (LONG, [height]),
        279: (LONG, list(map(len, planes))), 284: (SHORT, [2 if samples > 1 else 1]), 339: (SHORT, [format] * samples),
    }  # fmt: skip
    start = 8 + 2 + 12 * len(values) + 4
    pixels = start + 100
    values[273] = LONG, [pixels + sum(map(len, planes[:number])) for number in range(len(planes))]
    entries, others = b"", b""
    for tag, (kind, numbers) in sorted(values.items()):
        packed = struct.pack(f"{order}{len(numbers)}{'H' if kind == SHORT else 'I'}", *numbers)
        place = packed.ljust(4, b"\0") if len(packed) <= 4 else struct.pack(f"{order}I", start + len(others))
        others += packed if len(packed) > 4 else b""
        entries += struct.pack(f"{order}HHI", tag, kind, len(numbers)) + place
    head = (b"II" if order == "<" else b"MM") + struct.pack(f"{order}HIH", 42, 8, len(values))
    return head + entries + bytes(4) + others.ljust(100, b"\0") + b"".join(planes)


def planes(kind: str, number: int = 3, factor: int = 1) -> list[bytes]:
    return [(COLOURS[..., each].astype(kind) * factor).tobytes() for each in range(number)]


@pytest.mark.parametrize("order", ["<", ">"])
def test_an_uncompressed_tiff_of_16_bit_planes_is_read(order: str) -> None:
    assert_quarters(
        decode(tiff(planes(f"{order}u2", factor=257), bits=16, photometric=2, samples=3, order=order)).pixels
    )


@pytest.mark.parametrize("number", [1, 2])
def test_a_tiff_that_lacks_a_plane_is_refused(number: int) -> None:
    with pytest.raises(UnreadableImage, match="tiff image is broken or cut short"):
        decode(tiff(planes("u1", number), bits=8, photometric=2, samples=3))


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("u2", {"bits": 16, "photometric": 0}, "16-bit grey in which 0 is white"),
        ("u4", {"bits": 32, "photometric": 1}, "signed or 32-bit whole numbers"),
        ("i2", {"bits": 16, "photometric": 1, "format": 2}, "signed or 32-bit whole numbers"),
    ],
)
def test_a_tiff_whose_numbers_would_be_read_as_others_is_refused(
    kind: str, options: dict[str, int], message: str, order: str
) -> None:
    with pytest.raises(UnsupportedImageFormat, match=message):
        decode(tiff(planes(order + kind, 1), samples=1, order=order, **options))
