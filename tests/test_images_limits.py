"""Small files that tell of many pixels."""

import io
import struct
import zlib

import pytest
from PIL import Image

from flaskapp.errors import UnreadableImage
from tests.test_images import decode


def test_too_many_pixels_are_refused_from_the_header() -> None:
    buffer = io.BytesIO()
    Image.new("1", (1, 1)).save(buffer, "PNG")
    bomb = bytearray(buffer.getvalue())
    bomb[16:24] = (30_000).to_bytes(4) * 2  # width and height; the checksum is wrong now, but is looked at later
    bomb[29:33] = zlib.crc32(bomb[12:29]).to_bytes(4)
    with pytest.raises(UnreadableImage, match="more than 50 megapixels"):
        decode(bytes(bomb))


def of_run_lengths(side: int, compression: int) -> bytes:
    """A black BMP that ends each row after one pixel: Pillow fills it up, one pixel after the other."""
    depth, colours = 8 // compression, 1
    file = struct.pack("<2sI4xI", b"BM", 0, 58)
    header = struct.pack("<I2i2H6I", 40, side, side, 1, depth, compression, 0, 0, 0, colours, 0)
    return file + header + bytes(4) + b"\1\0\0\0" * side + b"\0\1"


@pytest.mark.parametrize("compression", [1, 2])
def test_a_bmp_of_run_lengths_may_have_a_tenth_of_the_pixels(compression: int) -> None:
    assert decode(of_run_lengths(1000, compression)).pixels.shape == (1000, 1000, 3)
    with pytest.raises(UnreadableImage, match=r"more than 5\.0 megapixels"):
        decode(of_run_lengths(2300, compression))
