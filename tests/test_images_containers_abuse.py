"""Expensive AVIF, HEIC, TIFF and EXIF: their lists, tables and tiles have limits."""

import io
import struct

import cv2
import numpy as np
import pytest
from PIL import Image

from flaskapp.errors import UnreadableImage, UnsupportedImageFormat
from flaskapp.images import EncodedImage
from flaskapp.images.containers import heif
from tests import image_files
from tests.photograph import photograph
from tests.test_images import decode, quarters, to_bytes
from tests.test_images_abuse import cpu_seconds


def test_an_avif_larger_than_declared_is_refused() -> None:
    avif = to_bytes(Image.new("RGB", (2000, 2000)), "AVIF", speed=10)
    assert decode(avif).pixels.shape == (2000, 2000, 3)
    with pytest.raises(UnreadableImage, match="avif image is broken"):
        EncodedImage(image_files.with_size(avif, 100, 100), 50)


def test_a_heic_larger_than_declared_is_refused() -> None:
    heic = to_bytes(Image.new("RGB", (2000, 2000)), "HEIF")
    assert decode(heic).pixels.shape == (2000, 2000, 3)
    with pytest.raises(UnreadableImage, match="heif image is broken"):
        decode(image_files.with_size(heic, 100, 100))


def avif_of_items(items: int, parts: int, base: int, content: bytes) -> bytes:
    """Return an AVIF without an image, whose items repeat the file from `base` on `parts` times."""
    places = bytes([0, 0, 0, 0, 0x00, 0x40]) + struct.pack(">H", items)
    places += b"".join(struct.pack(">HHIH", item, 0, base, parts) for item in range(items))
    boxes = image_files.box(b"ftyp", b"avif\0\0\0\0avifmif1")
    boxes += image_files.box(b"meta", bytes(4), image_files.box(b"iloc", places))
    return boxes + image_files.box(b"mdat", content)


@pytest.mark.parametrize(
    ("items", "parts", "content"),
    [
        (1, 4096, bytes(1_000_000)),  # 4 GB
        (1, 65_535, b""),
        (4096, 1, bytes(1_000_000)),
        (4096, 1, b"\x0a\0" * 2000),  # millions of AV1 units
        (5000, 1, b""),
    ],
)
def test_the_items_of_an_avif_take_little_time(items: int, parts: int, content: bytes) -> None:
    data = avif_of_items(items, parts, 56 + 10 * items, content)

    def read() -> None:
        with pytest.raises(UnreadableImage, match="avif image is broken"):
            EncodedImage(data, 50)

    assert cpu_seconds(read) < 1


def heic_of_tables(associations: bytes, references: bytes = b"") -> bytes:
    """Return a HEIC without an image, with tables of item properties and references."""
    sizes = image_files.box(b"ipco", image_files.box(b"ispe", struct.pack(">3I", 0, 8, 8)))
    meta = image_files.box(b"pitm", struct.pack(">IH", 0, 1))
    meta += image_files.box(b"iprp", sizes, image_files.box(b"ipma", associations))
    meta += image_files.box(b"iref", bytes(4), references)
    return image_files.box(b"ftyp", b"heic\0\0\0\0heicmif1") + image_files.box(b"meta", bytes(4), meta)


@pytest.mark.parametrize(
    "data",
    [
        heic_of_tables(struct.pack(">2I", 0, 5_000_000) + b"\0\1\0" * 5_000_000),
        heic_of_tables(struct.pack(">2I", 0, 60_000) + (b"\0\1\xff" + b"\1" * 255) * 60_000),
        heic_of_tables(
            bytes(8),
            b"".join(image_files.box(b"dimg", struct.pack(">2H", item, 65_535), bytes(131_070)) for item in range(120)),
        ),
    ],
    ids=["items", "properties", "references"],
)
def test_the_tables_of_a_heic_take_little_time(data: bytes) -> None:
    def read() -> None:
        with pytest.raises(UnreadableImage, match="heif image is broken"):
            EncodedImage(data, 50)

    assert cpu_seconds(read) < 1


def exif_of_numbers(count: int) -> bytes:
    """Return EXIF data with an orientation and fractions, which Pillow rewrites for rotated images."""
    return (
        b"Exif\0\0MM\0*\0\0\0\x08"
        + struct.pack(">H2HI2H2H2I", 2, 0x112, 3, 1, 6, 0, 0x1000, 5, count, 38)
        + bytes(4)
        + struct.pack(">2I", 1, 1) * count
    )


@pytest.mark.parametrize(("format", "is_turned"), [("WEBP", False), ("PNG", False), ("AVIF", True), ("HEIF", True)])
def test_a_large_exif_takes_little_time_and_rotates_no_image(format: str, is_turned: bool) -> None:
    """AVIF and HEIC also have their orientation in boxes."""
    data = to_bytes(quarters(), format, exif=exif_of_numbers(500_000))
    assert len(data) > 4_000_000
    assert cpu_seconds(lambda: decode(data)) < 2
    assert (decode(data).pixels.shape[:2] != np.asarray(quarters()).shape[:2]) == is_turned


def tiled_heic() -> bytes:
    buffer = io.BytesIO()
    photograph(1000, 800).save(buffer, "HEIF", tile_size=256)
    return buffer.getvalue()


def test_a_tiled_heic_is_read() -> None:
    assert b"dimg" in tiled_heic()
    assert decode(tiled_heic()).pixels.shape == (800, 1000, 3)


def test_a_heic_that_references_one_large_part_many_times_is_refused() -> None:
    data = tiled_heic()
    start = data.index(b"dimg")
    count = int.from_bytes(data[start + 6 : start + 8])
    assert heif.clean(data).coded == count * 256 * 256
    with pytest.raises(UnreadableImage, match="heif image is broken"):
        EncodedImage(image_files.with_size(data, 1000, 800), 50)


def test_a_tiff_with_large_tiles_is_refused() -> None:
    data = image_files.tiff(
        (256, 1, 1), (257, 1, 1), (258, 1, 8), (259, 1, 5), (262, 1, 1), (277, 1, 1),
        (322, 1, 40_000), (323, 1, 40_000), (324, 1, 8), (325, 1, 16), data=bytes(16),
    )  # fmt: skip
    with pytest.raises(UnreadableImage, match="tiles that are larger"):
        EncodedImage(data, 50)


def test_a_tiff_with_many_strips_is_refused() -> None:
    strips = struct.pack("<I", 8) * 2_000_000
    data = image_files.tiff(
        (256, 1, 1), (257, 1, 60_000), (258, 1, 8), (259, 1, 1), (262, 1, 1), (273, 2_000_000, 8), (277, 1, 1),
        (278, 1, 1), (279, 2_000_000, 8), data=strips,
    )  # fmt: skip
    with pytest.raises(UnreadableImage, match="more than 100000 strips"):
        EncodedImage(data, 50)


@pytest.mark.parametrize(("dtype", "samples"), [(np.float32, 3), (np.float32, 4), (np.float64, 1), (np.float64, 3)])
def test_a_tiff_of_floating_point_colours_is_unsupported_and_not_called_broken(dtype: type, samples: int) -> None:
    is_written, data = cv2.imencode(".tif", np.full((8, 8, samples), 120, dtype))
    assert is_written
    with pytest.raises(UnsupportedImageFormat, match="this is a TIFF of floating-point colours"):
        EncodedImage(data.tobytes(), 50)


@pytest.mark.parametrize(("tag", "value", "name"), [(259, 34925, "a TIFF of compression 34925"), (50706, 1, "a raw")])
def test_an_unsupported_kind_of_tiff_is_named(tag: int, value: int, name: str) -> None:
    with pytest.raises(UnsupportedImageFormat, match=f"this is {name}"):
        decode(image_files.tiff((256, 1, 8), (257, 1, 8), (tag, 1, value)))
