"""Valid and slightly damaged files, and their colours."""

import struct
import zlib
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image, ImageCms
from PIL.PngImagePlugin import PngInfo

from flaskapp.errors import UnreadableImage, UnsupportedImageFormat
from tests import image_files
from tests.photograph import photograph
from tests.test_images import GREY, RED, assert_quarters, decode, quarters, to_bytes

TEXT = b"a long text " * 200_000


@pytest.mark.parametrize(
    "chunk",
    [
        image_files.chunk(b"zTXt", b"Comment\0\0" + zlib.compress(TEXT)),
        image_files.chunk(b"iTXt", b"Comment\0\1\0\0\0" + zlib.compress(TEXT)),
        image_files.chunk(b"tEXt", b"Comment\0" + TEXT),
        image_files.chunk(b"iCCP", b"profile\0\0" + zlib.compress(bytes(2_000_000))),
        image_files.chunk(b"iCCP", b"profile\0\0" + zlib.compress(bytes(50_000_000))),
        image_files.chunk(b"iCCP", b"profile\0\0no zlib"),
        image_files.chunk(b"iCCP", b"no end of its name"),
        image_files.chunk(b"tEXt", b"Comment\0wrong", checksum=1),
        image_files.chunk(b"iCCP", b"profile\0\0wrong", checksum=1),
        image_files.chunk(b"tRNS", bytes(6), checksum=1),
        image_files.chunk(b"eXIf", b"II*\0rubbish"),
    ],
)
@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_a_png_is_read_with_any_ancillary_chunk(chunk: bytes) -> None:
    assert_quarters(decode(image_files.with_chunks(to_bytes(quarters(), "PNG"), chunk)).flatten())


def test_a_profile_of_more_than_a_megabyte_is_used() -> None:
    long = named_profile("linear", padding=2_000_000)
    png = image_files.with_chunks(
        to_bytes(Image.new("RGB", (4, 4), (55, 55, 55)), "PNG"),
        image_files.chunk(b"iCCP", b"linear\0\0" + zlib.compress(long)),
    )
    assert abs(int(decode(png).pixels[0, 0, 0]) - 128) <= 3


@pytest.mark.parametrize("kind", [b"IHDR", b"PLTE"])
def test_a_wrong_checksum_of_a_critical_chunk_is_refused(kind: bytes) -> None:
    png = bytearray(to_bytes(quarters().quantize(8), "PNG"))
    start = png.index(kind)
    length = int.from_bytes(png[start - 4 : start])
    png[start + 4 + length] ^= 1
    with pytest.raises(UnreadableImage, match="png image is broken"):
        decode(bytes(png))


def test_a_png_without_its_last_chunk_is_read() -> None:
    assert_quarters(decode(to_bytes(quarters(), "PNG")[:-12]).pixels)


@pytest.mark.parametrize("missing", [1, 2])
@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}])
def test_a_jpeg_without_its_last_bytes_is_read(missing: int, options: dict[str, Any]) -> None:
    jpeg = to_bytes(photograph(90, 70), "JPEG", **options)
    assert jpeg.endswith(b"\xff\xd9")
    assert (decode(jpeg[:-missing]).pixels == decode(jpeg).pixels).all()


def test_bytes_after_the_end_of_a_jpeg_are_ignored() -> None:
    jpeg = to_bytes(quarters(), "JPEG", quality=95)
    assert_quarters(decode(jpeg + b"trailer" * 1000 + jpeg).pixels)


XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "AVIF", "TIFF"])
def test_an_orientation_only_in_xmp_is_ignored(format: str) -> None:
    options: dict[str, Any] = {"xmp": XMP}
    if format == "PNG":
        text = PngInfo()
        text.add_itxt("XML:com.adobe.xmp", XMP)
        options = {"pnginfo": text}
    elif format == "TIFF":
        options = {"tiffinfo": {700: XMP}}
    data = to_bytes(quarters(), format, **options)
    assert XMP in data
    assert decode(data).pixels.shape == (60, 40, 3)


@pytest.mark.parametrize("format", ["TIFF", "AVIF", "HEIF"])
@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_the_orientation_of_avif_heic_and_tiff_is_applied(format: str, orientation: int) -> None:
    angle = {1: 0, 3: 180, 6: 90, 8: 270}[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = quarters().resize((80, 120)).rotate(angle, expand=True)
    options: dict[str, Any] = {"TIFF": {}, "AVIF": {"quality": 95}, "HEIF": {"quality": 95}}[format]
    data = to_bytes(stored, format, exif=exif.tobytes(), **options)
    assert (b"irot" in data) == (orientation != 1 and format != "TIFF"), "the container has the orientation, not EXIF"
    picture = decode(data)
    assert picture.format == format.lower()
    assert picture.pixels.shape[:2] == (120, 80)
    assert_quarters(picture.flatten(), tolerance=10)


@pytest.mark.parametrize("compression", ["raw", "tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg"])
def test_a_tiff_of_each_compression_is_read(compression: str) -> None:
    picture = decode(to_bytes(quarters(), "TIFF", compression=compression))
    assert_quarters(picture.pixels, tolerance=10)


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "LA", "CMYK", "YCbCr", "LAB", "I;16", "F"])
def test_a_tiff_of_each_mode_is_read(mode: str) -> None:
    image = Image.new("RGB", (16, 16), GREY)
    if mode == "I;16":
        image = Image.fromarray(np.full((16, 16), 120 * 257, np.uint16))
    elif mode == "F":
        image = Image.fromarray(np.full((16, 16), 120 / 255, np.float32))
    elif mode == "LAB":
        image = Image.merge("LAB", [Image.new("L", (16, 16), value) for value in (128, 128, 128)])
    else:
        image = image.quantize(2) if mode == "P" else image.convert(mode)
    pixels = decode(to_bytes(image, "TIFF")).flatten()
    if mode != "1":
        assert np.abs(pixels.astype(int) - 120).max() <= 3, pixels[0, 0]


@pytest.mark.parametrize("format", ["AVIF", "HEIF"])
def test_transparency_of_avif_and_heic_is_kept(format: str) -> None:
    picture = decode(to_bytes(Image.new("RGBA", (64, 64), (*RED, 0)), format))
    assert picture.pixels[32, 32, 3] <= 2


@pytest.mark.parametrize("format", ["AVIF", "HEIF", "TIFF"])
def test_the_first_of_several_images_is_read(format: str) -> None:
    frames = [Image.new("RGB", (64, 64), colour) for colour in (RED, GREY)]
    data = to_bytes(frames[0], format, save_all=True, append_images=frames[1:])
    assert np.abs(decode(data).pixels[32, 32].astype(int) - RED).max() <= 6


@pytest.mark.parametrize("share", [0.3, 0.5, 0.9])
@pytest.mark.parametrize("format", ["TIFF", "AVIF", "HEIF"])
def test_a_truncated_avif_heic_or_tiff_is_refused(format: str, share: float) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (90, 80, 3), np.uint8)
    data = to_bytes(Image.fromarray(noise), format)
    with pytest.raises((UnreadableImage, UnsupportedImageFormat)):
        decode(data[: int(len(data) * share)])


@pytest.mark.parametrize("depth", [1, 2, 4, 8])
def test_the_transparent_value_of_grey_of_each_depth_is_transparent(depth: int) -> None:
    most = 2**depth - 1
    per_byte = 8 // depth
    row = bytes([sum((1 if depth > 1 else 0) << depth * place for place in range(per_byte)), 255])
    png = image_files.png_of(
        2 * per_byte, 2, depth, 0, row, image_files.chunk(b"tRNS", struct.pack(">H", 1 if depth > 1 else 0))
    )
    pixels = decode(png).pixels
    assert pixels.shape[2] == 4
    assert pixels[0, 0, 3] == 0
    assert pixels[0, -1].tolist() == [255, 255, 255, 255], f"{most} is opaque white"


def test_the_transparent_value_of_16_bit_colour_is_transparent() -> None:
    wide = np.full((4, 4, 3), 30_000, np.uint16)
    wide[:, 2:] = 60_000
    png = cv2.imencode(".png", wide)[1].tobytes()
    pixels = decode(image_files.with_chunks(png, image_files.chunk(b"tRNS", struct.pack(">3H", *[30_000] * 3)))).pixels
    assert pixels[0, 0, 3] == 0
    assert pixels[0, 3].tolist() == [234, 234, 234, 255]


MASKS = {
    "8888": (32, (0xFF0000, 0xFF00, 0xFF, 0xFF000000), 0xFFC81E1E),
    "8888 reversed": (32, (0xFF, 0xFF00, 0xFF0000, 0xFF000000), 0xFF1E1EC8),
    "2:10:10:10": (32, (0x3FF00000, 0xFFC00, 0x3FF, 0xC0000000), 3 << 30 | 802 << 20 | 120 << 10 | 120),
    "4444": (16, (0xF00, 0xF0, 0xF, 0xF000), 0xFC22),
    "1555": (16, (0x7C00, 0x3E0, 0x1F, 0x8000), 0x8000 | 24 << 10 | 4 << 5 | 4),
    "565": (16, (0xF800, 0x7E0, 0x1F), 24 << 11 | 8 << 5 | 4),
    "555": (16, (0x7C00, 0x3E0, 0x1F), 24 << 10 | 4 << 5 | 4),
    "444": (16, (0xF00, 0xF0, 0xF), 0xC22),
}


@pytest.mark.parametrize("name", MASKS)
def test_a_bmp_with_any_bit_fields_is_read(name: str) -> None:
    depth, masks, pixel = MASKS[name]
    rows = (struct.pack("<H" if depth == 16 else "<I", pixel)) * 36
    version = 3 if len(masks) == 4 else 1
    picture = decode(image_files.bmp_of_masks(depth, masks, rows, 6, 6, version))
    assert picture.pixels.shape[:2] == (6, 6)
    assert np.abs(picture.flatten().astype(int) - RED).max() <= 8, picture.pixels[0, 0]


@pytest.mark.parametrize("name", ["8888", "8888 reversed", "4444", "1555"])
def test_alpha_of_0_everywhere_is_ignored(name: str) -> None:
    depth, masks, pixel = MASKS[name]
    code = "<H" if depth == 16 else "<I"
    invisible = struct.pack(code, pixel & ~masks[3])
    picture = decode(image_files.bmp_of_masks(depth, masks, invisible * 36, 6, 6))
    assert np.abs(picture.flatten().astype(int) - RED).max() <= 8
    half = invisible * 18 + struct.pack(code, pixel) * 18
    alpha = decode(image_files.bmp_of_masks(depth, masks, half, 6, 6)).pixels[..., 3]
    assert alpha[0, 0] == 255, "rows are stored from the bottom"
    assert alpha[5, 0] == 0


def test_a_top_down_bmp_is_read() -> None:
    depth, masks, _ = MASKS["565"]
    rows = struct.pack("<2H", 0xF800, 0xF800) + struct.pack("<2H", 0x1F, 0x1F)
    pixels = decode(image_files.bmp_of_masks(depth, masks, rows, 2, -2, version=1)).pixels
    assert pixels[0, 0].tolist() == [255, 0, 0]


def named_profile(name: str, curve: bytes = b"", padding: int = 0) -> bytes:
    """Return an ICC profile with sRGB's primaries and linear light or another curve."""
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    count = int.from_bytes(srgb[128:132])
    tags: dict[bytes, bytes] = {}
    for index in range(count):
        kind, start, length = struct.unpack_from(">4s2I", srgb, 132 + 12 * index)
        tags[kind] = srgb[start : start + length]
    text = name.encode("utf-16-be")
    tags[b"desc"] = b"mluc\0\0\0\0" + struct.pack(">2I2s2s2I", 1, 12, b"en", b"US", len(text), 28) + text
    tags[b"cprt"] = b"text\0\0\0\0none\0" + bytes(padding)
    for kind in (b"rTRC", b"gTRC", b"bTRC"):
        tags[kind] = curve or b"curv\0\0\0\0" + struct.pack(">I", 0)
    table, bodies = struct.pack(">I", len(tags)), b""
    for kind, body in tags.items():
        table += kind + struct.pack(">2I", 132 + 12 * len(tags) + len(bodies), len(body))
        bodies += body + bytes(-len(body) % 4)
    profile = srgb[:128] + table + bodies
    return struct.pack(">I", len(profile)) + profile[4:]


@pytest.mark.parametrize("name", ["linear sRGB", "sRGB linear", "sRGB IEC61966-2.1 (Linear RGB Profile)", "sRGB"])
@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "TIFF", "AVIF", "HEIF"])
def test_a_linear_profile_is_applied_whatever_its_name(name: str, format: str) -> None:
    grey = Image.new("RGB", (64, 64), (55, 55, 55))
    options = {"quality": 95} if format not in ("PNG", "TIFF") else {}
    pixels = decode(to_bytes(grey, format, icc_profile=named_profile(name), **options)).pixels
    assert abs(int(pixels[32, 32, 0]) - 128) <= 5, "55 of 255 in linear light is sRGB's middle grey"


def test_a_profile_like_srgb_changes_nothing_whatever_its_name() -> None:
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    renamed = srgb.replace("sRGB".encode("utf-16-be"), "bGRs".encode("utf-16-be"))
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    assert (decode(to_bytes(Image.fromarray(noise), "PNG", icc_profile=renamed)).pixels == noise).all()


def test_a_broken_tiff_prints_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    data = bytearray(to_bytes(photograph(90, 70), "TIFF", compression="tiff_lzw"))
    data[100:200] = bytes(100)
    with pytest.raises(UnreadableImage, match="tiff image is broken"):
        decode(bytes(data))
    assert capfd.readouterr() == ("", "")
