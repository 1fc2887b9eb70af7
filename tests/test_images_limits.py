"""Images with many pixels, and small files that declare many."""

import pickle
import struct
import subprocess
import sys
import zlib

import pytest
from PIL import Image

from flaskapp.errors import TooBusy, UnreadableImage
from flaskapp.images import EncodedImage, encoded
from flaskapp.semaphore import WeightedSemaphore
from tests.test_images import decode, to_bytes


def test_too_many_pixels_are_refused_from_the_header() -> None:
    bomb = bytearray(to_bytes(Image.new("1", (1, 1)), "PNG"))
    bomb[16:24] = (30_000).to_bytes(4) * 2  # width and height
    bomb[29:33] = zlib.crc32(bomb[12:29]).to_bytes(4)
    with pytest.raises(UnreadableImage, match="more than 50 megapixels"):
        decode(bytes(bomb))


def of_run_lengths(side: int, compression: int) -> bytes:
    """Return a black BMP that ends each row after one pixel: Pillow fills rows pixel by pixel."""
    depth, colours = 8 // compression, 1
    file = struct.pack("<2sI4xI", b"BM", 0, 58)
    header = struct.pack("<I2i2H6I", 40, side, side, 1, depth, compression, 0, 0, 0, colours, 0)
    return file + header + bytes(4) + b"\1\0\0\0" * side + b"\0\1"


@pytest.mark.parametrize("compression", [1, 2])
def test_a_run_length_bmp_may_have_a_tenth_of_the_pixels(compression: int) -> None:
    assert decode(of_run_lengths(1000, compression)).pixels.shape == (1000, 1000, 3)
    with pytest.raises(UnreadableImage, match="more than 5 megapixels"):
        decode(of_run_lengths(2300, compression))


def test_large_images_wait_for_each_other_and_small_ones_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoded, "semaphore", WeightedSemaphore(16_000_000, 0.01, "too many large images at once"))
    large, small = (EncodedImage(to_bytes(Image.new("RGB", size), "PNG"), 50) for size in ((1000, 800), (300, 300)))
    with encoded.semaphore.take(8_000_000):
        with pytest.raises(TooBusy, match="too many large images"), large.decoded():
            pass
        with small.decoded() as picture:
            assert picture.pixels.shape == (300, 300, 3)
    with large.decoded(), pytest.raises(TooBusy), small.decoded(), large.decoded():
        pass


def test_an_image_that_finds_no_memory_is_a_temporary_error() -> None:
    large, small = (to_bytes(Image.new("RGB", size), "PNG") for size in ((10_000, 4_000), (8, 8)))
    answers = subprocess.run(
        [sys.executable, "-c", WITHOUT_MEMORY], input=pickle.dumps((large, small)), capture_output=True, check=True
    )
    assert answers.stdout.decode().split("\n") == ["there is no memory for the image at the moment", "(8, 8, 3)", ""]


# Limits a separate process to its memory at the start and 100 MB, too little for a large image.
WITHOUT_MEMORY = """
import pickle, re, resource, sys
from flaskapp.errors import TooBusy
from flaskapp.images import EncodedImage
large, small = pickle.load(sys.stdin.buffer)
used = int(re.search(r"VmSize:\\s+(\\d+) kB", open("/proc/self/status").read())[1])
resource.setrlimit(resource.RLIMIT_AS, (used * 1024 + 100_000_000, resource.RLIM_INFINITY))
try:
    EncodedImage(large, 50).decode()
except TooBusy as error:
    print(error)
print(EncodedImage(small, 50).decode().pixels.shape)
"""
