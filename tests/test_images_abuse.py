"""Small files that would take much time or memory."""

import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pillow_heif
import pytest
from PIL import Image

from flaskapp.errors import ClientLeft, UnreadableImage, UnsupportedImageFormat
from flaskapp.images import EncodedImage, encoded
from tests import image_files
from tests.photograph import photograph
from tests.test_images import decode, to_bytes


def cpu_seconds(action: Callable[[], object]) -> float:
    start = time.process_time()
    action()
    return time.process_time() - start


def test_a_jpeg_with_many_scans_is_refused_before_it_is_decoded() -> None:
    bomb = image_files.jpeg_of_scans(7000, 7000, 20_000)
    with pytest.raises(UnreadableImage, match="more than 100 scans"):
        EncodedImage(bomb, 50)


def test_a_jpeg_with_the_maximum_of_scans_takes_at_most_seconds() -> None:
    data = image_files.jpeg_of_scans(7000, 7000, 100)
    assert cpu_seconds(lambda: decode(data)) < 10


def test_a_sequential_jpeg_may_have_one_scan_for_each_component() -> None:
    with pytest.raises(UnreadableImage, match="more than 4 scans"):
        decode(image_files.jpeg_of_scans(64, 64, 5, frame=0xC0))


def test_scans_between_other_segments_count() -> None:
    scan = image_files.segment(0xDA, bytes([1, 1, 0, 1, 63, 0])) + b"\0"
    data = image_files.jpeg_of_scans(64, 64, 1)[:-2]
    data += b"".join(image_files.segment(0xE5, b"\xff\xd9") + b"\xff\xff" + scan for _ in range(100)) + b"\xff\xd9"
    with pytest.raises(UnreadableImage, match="more than 100 scans"):
        decode(data)


def test_scans_of_a_preview_do_not_count() -> None:
    preview = image_files.jpeg_of_scans(16, 16, 150)
    jpeg = to_bytes(photograph(40, 30), "JPEG")
    with_preview = jpeg[:2] + image_files.segment(0xE2, b"MPF\0" + preview) + jpeg[2:] + preview
    assert (decode(with_preview).pixels == decode(jpeg).pixels).all()


@pytest.mark.parametrize("frame", [0xC9, 0xCA])
def test_arithmetic_coding_is_refused(frame: int) -> None:
    with pytest.raises(UnsupportedImageFormat, match="arithmetic coding"):
        decode(image_files.jpeg_of_scans(64, 64, 1, frame))


@pytest.mark.parametrize("filler", [b"\xff\xfe\0\2", b"\xff\xe1\0\2", b"\xff\xdb\0\2"])
def test_a_jpeg_with_many_segments_is_refused(filler: bytes) -> None:
    jpeg = to_bytes(photograph(40, 30), "JPEG")
    data = jpeg[:2] + filler * 1_000_000 + jpeg[2:]
    with pytest.raises(UnreadableImage, match="more than 4096 segments"):
        decode(data)


@pytest.mark.parametrize("filler", [b"\xff", b"\0", b"\xff\0"])
def test_padding_in_a_jpeg_takes_no_time(filler: bytes) -> None:
    jpeg = to_bytes(photograph(40, 30), "JPEG")
    data = jpeg[:20] + filler * 4_000_000 + jpeg[20:]
    assert cpu_seconds(lambda: decode(data)) < 2


def test_restart_markers_after_every_block_take_little_time() -> None:
    data = to_bytes(photograph(2000, 1500), "JPEG", restart_marker_blocks=1)
    assert cpu_seconds(lambda: decode(data)) < 5


def test_a_png_with_many_chunks_is_refused() -> None:
    png = to_bytes(photograph(40, 30), "PNG")
    with pytest.raises(UnreadableImage, match="more than 100000 chunks"):
        decode(image_files.with_chunks(png, image_files.chunk(b"IDAT", b"") * 1_000_000))


def test_pixels_in_many_chunks_are_read() -> None:
    png = to_bytes(photograph(40, 30), "PNG")
    split = image_files.with_chunks(png, image_files.chunk(b"IDAT", b"") * 90_000)
    assert cpu_seconds(lambda: decode(split)) < 2
    assert (decode(split).pixels == decode(png).pixels).all()


def test_a_transparent_colour_of_megabytes_takes_little_time_and_is_ignored() -> None:
    data = image_files.png_of(8, 8, 16, 2, bytes(48), image_files.chunk(b"tRNS", bytes(14_000_000)))
    assert cpu_seconds(lambda: decode(data)) < 0.5
    assert decode(data).pixels.shape == (8, 8, 3)


@pytest.mark.parametrize("size", [b"\1\0", b"\1" * 2, b"\xff" * 256])
def test_comments_in_a_gif_take_little_time(size: bytes) -> None:
    gif = to_bytes(photograph(40, 30).quantize(16), "GIF")
    start = 13 + (3 << (gif[10] & 7) + 1)
    comment = b"!\xfe" + size * (8_000_000 // len(size)) + b"\0"
    data = gif[:start] + comment + gif[start:]

    def read() -> None:
        try:
            decode(data)
        except UnreadableImage as error:
            assert "more than 1000000 blocks" in str(error)  # noqa: PT017

    assert cpu_seconds(read) < 3


@pytest.mark.parametrize("format", ["GIF", "PNG", "WEBP"])
def test_frames_after_the_first_take_little_time(format: str) -> None:
    frames = [Image.new("RGB", (8, 8), (shade % 256, shade // 256, 0)) for shade in range(3000)]
    data = to_bytes(frames[0], format, save_all=True, append_images=frames[1:])
    assert cpu_seconds(lambda: decode(data)) < 1


@pytest.mark.parametrize("size", [(49_999_999, 1), (1, 49_999_999), (65_536, 2)])
def test_a_side_has_its_own_limit(size: tuple[int, int]) -> None:
    png = image_files.png_of(*size, 1, 0, bytes(-(-size[0] // 8)))
    with pytest.raises(UnreadableImage, match="a side of more than 65535 pixels"):
        EncodedImage(png, 50)


def test_the_longest_side_is_read() -> None:
    assert decode(image_files.png_of(65_535, 2, 1, 0, bytes(8192))).pixels.shape == (2, 65_535, 3)


def test_the_size_of_a_webp_is_checked_before_memory_is_allocated() -> None:
    webp = bytearray(
        to_bytes(Image.new("RGBA", (8, 8), (9, 9, 9, 9)), "WEBP", exif=b"Exif\0\0II*\0\x08\0\0\0\0\0\0\0\0\0")
    )
    assert webp[12:16] == b"VP8X"
    webp[24:30] = (16_382).to_bytes(3, "little") * 2
    with pytest.raises(UnreadableImage, match="more than 50 megapixels"):
        EncodedImage(bytes(webp), 50)


@pytest.mark.parametrize("format", ["JPEG", "PNG", "GIF", "BMP"])
def test_decoding_ends_when_the_client_disconnects(format: str) -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (600, 800, 3), np.uint8))
    image = EncodedImage(to_bytes(noise, format), 50)
    asked = 0

    def has_left() -> bool:
        nonlocal asked
        asked += 1
        return asked > 3

    with pytest.raises(ClientLeft):
        image.decode(has_left=has_left)
    assert asked == 4


def test_no_image_is_decoded_for_a_client_that_disconnected_in_the_queue() -> None:
    image = EncodedImage(to_bytes(photograph(40, 30), "WEBP"), 50)
    with pytest.raises(ClientLeft), image.decoded(has_left=lambda: True):
        pass


def large(mode: str, format: str, **options: Any) -> Callable[[], bytes]:
    def make() -> bytes:
        picture = photograph(2400, 2000)
        if mode == "RGBA":
            picture = picture.copy()
            picture.putalpha(Image.linear_gradient("L").resize(picture.size))
        elif mode == "P":
            picture = picture.quantize(16)
        elif mode == "I;16":
            picture = Image.fromarray(np.asarray(picture.convert("L")).astype(np.uint16) * 257)
        else:
            picture = picture.convert(mode)
        exif = Image.Exif()
        exif[0x0112] = 6  # rotate by 90 degrees
        return to_bytes(
            picture, format, **({"exif": exif} if format in ("JPEG", "PNG", "WEBP", "AVIF") else {}), **options
        )

    return make


def with_grey_corner() -> bytes:
    """Return a JPEG that ends like one that lacks pixels, and is compared like it."""
    picture = photograph(2400, 2000).copy()
    picture.paste((128, 128, 128), (2368, 1968, 2400, 2000))
    return to_bytes(picture, "JPEG")


@pytest.mark.parametrize(
    ("make", "side"),
    [
        (large("RGB", "JPEG"), None),
        (large("RGB", "JPEG"), 200),
        (lambda: large("RGB", "JPEG")()[:-2], None),
        (lambda: with_grey_corner(), None),
        (lambda: large("RGB", "JPEG", progressive=True, subsampling=0)()[:-2], None),
        (large("RGB", "JPEG", progressive=True, subsampling=0), None),
        (large("RGB", "JPEG", progressive=True, subsampling=0), 200),
        (large("CMYK", "JPEG"), None),
        (large("1", "PNG"), None),
        (large("P", "PNG", transparency=3), None),
        (large("RGBA", "PNG", compress_level=1), None),
        (large("I;16", "PNG", transparency=257), None),
        (large("P", "GIF", transparency=3), None),
        (large("RGBA", "WEBP", method=0), None),
        (large("RGBA", "TIFF", compression="tiff_lzw"), None),
        (large("F", "TIFF"), None),
        (large("RGBA", "AVIF", speed=10), None),
        (large("RGBA", "HEIF"), None),
    ],
)
def test_the_estimated_memory_matches_the_allocated_memory(make: Callable[[], bytes], side: int | None) -> None:
    data = make()
    estimated = EncodedImage(data, 50).memory(side)
    command = [sys.executable, "-c", PEAK, str(side or "")]
    allocated = int(subprocess.run(command, input=data, capture_output=True, check=True).stdout)
    assert 0.25 * estimated < allocated < 1.1 * estimated + 4_000_000, f"{allocated / 1e6:.0f} MB allocated"


# Prints the peak growth of a separate process's memory in bytes.
PEAK = """
import sys
from pathlib import Path
from flaskapp.images import EncodedImage
def memory(field):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field))
EncodedImage(Path("tests/assets/star.png").read_bytes(), 50).decode().flatten()
image = EncodedImage(sys.stdin.buffer.read(), 50)
Path("/proc/self/clear_refs").write_text("5")
before = memory("VmRSS")
image.decode(int(sys.argv[1]) if sys.argv[1] else None).flatten()
print(memory("VmHWM") - before)
"""


def test_a_large_1_bit_image_is_estimated_at_more_than_half_the_memory() -> None:
    square = EncodedImage(image_files.png_of(7000, 7000, 1, 0, bytes(875)), 50)
    assert square.memory() > encoded.BYTES_AT_ONCE / 2, "two at once would exceed the memory"


def test_the_heif_library_uses_one_thread_for_an_image() -> None:
    assert pillow_heif.options.DECODE_THREADS == 1
