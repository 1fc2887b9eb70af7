"""Reading, resizing and encoding. Flat patches are compared with a tolerance for lossy encoders."""

import io
import struct
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image, ImageCms

from flaskapp import images
from flaskapp.errors import UnreadableImage, UnsupportedImageFormat

RED, GREEN, BLUE, GREY = (200, 30, 30), (30, 160, 60), (30, 60, 200), (120, 120, 120)


def quarters() -> Image.Image:
    """Return an image 40 wide, 60 high: red top left, green top right, blue bottom left, grey bottom right."""
    image = Image.new("RGB", (40, 60), RED)
    image.paste(GREEN, (20, 0, 40, 30))
    image.paste(BLUE, (0, 30, 20, 60))
    image.paste(GREY, (20, 30, 40, 60))
    return image


def to_bytes(image: Image.Image, format: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def decode(data: bytes) -> images.Picture:
    return images.EncodedImage(data, max_megapixels=50).decode()


def assert_quarters(pixels: np.ndarray, tolerance: int = 6) -> None:
    height, width = pixels.shape[:2]
    for (x, y), colour in {(1, 1): RED, (3, 1): GREEN, (1, 3): BLUE, (3, 3): GREY}.items():
        found = pixels[y * height // 4, x * width // 4, :3].astype(int)
        assert np.abs(found - colour).max() <= tolerance, f"{found} at {x, y} should be {colour}"


@pytest.mark.parametrize(
    ("format", "options"),
    [("JPEG", {"quality": 95}), ("PNG", {}), ("WEBP", {"lossless": True}), ("GIF", {}), ("BMP", {})],
)
def test_each_format_is_read_with_right_colours(format: str, options: dict[str, Any]) -> None:
    picture = decode(to_bytes(quarters(), format, **options))
    assert picture.format == format.lower()
    assert picture.pixels.shape == (60, 40, 3)
    assert_quarters(picture.pixels)


@pytest.mark.parametrize(
    ("mode", "format"), [("CMYK", "JPEG"), ("P", "PNG"), ("P", "GIF"), ("RGBA", "PNG"), ("RGBA", "WEBP")]
)
def test_each_colour_model_is_read_with_right_colours(mode: str, format: str) -> None:
    image = quarters().quantize(8) if mode == "P" else quarters().convert(mode)
    data = to_bytes(image, format, **({"quality": 95} if format == "JPEG" else {}))
    assert_quarters(decode(data).flatten(), tolerance=10)


@pytest.mark.parametrize("mode", ["L", "1", "LA", "I;16"])
def test_grey_of_each_depth_is_read_as_grey(mode: str) -> None:
    dark = np.zeros((8, 8), np.uint16)
    dark[:, 4:] = 65535
    dark[4:] //= 2
    image = Image.fromarray(dark) if mode == "I;16" else Image.fromarray((dark >> 8).astype(np.uint8)).convert(mode)
    pixels = decode(to_bytes(image, "PNG")).flatten()
    assert pixels[0, 0].tolist() == [0, 0, 0]
    assert pixels[0, 7].tolist() == [255, 255, 255]
    if mode != "1":
        assert pixels[7, 7].tolist() == [127, 127, 127]


def test_16_bit_colour_is_read_as_8_bit() -> None:
    wide = np.zeros((4, 4, 3), np.uint16)
    wide[:] = [30 * 257, 60 * 257, 200 * 257]  # BGR
    encoded, data = cv2.imencode(".png", wide)
    assert encoded
    assert decode(data.tobytes()).pixels[0, 0].tolist() == [200, 60, 30]


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP"])
def test_each_exif_orientation_is_applied(orientation: int, format: str) -> None:
    turns = {
        2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_90, 7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }  # fmt: skip
    stored = quarters().transpose(turns[orientation]) if orientation > 1 else quarters()
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"PNG": {}, "JPEG": {"quality": 95}, "WEBP": {"lossless": True}}[format]
    picture = decode(to_bytes(stored, format, exif=exif, **options))
    assert picture.pixels.shape[:2] == (60, 40)
    assert_quarters(picture.pixels)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_a_corrupt_exif_tag_counts_as_upright() -> None:
    picture = decode(to_bytes(quarters(), "JPEG", quality=95, exif=b"Exif\0\0II*\0\xff\xff\xff\xff rubbish"))
    assert_quarters(picture.pixels)


def test_transparency_is_composed_over_white() -> None:
    image = Image.new("RGBA", (2, 1), (200, 30, 30, 0))
    image.putpixel((1, 0), (0, 0, 0, 128))
    assert decode(to_bytes(image, "PNG")).flatten().tolist() == [[[255, 255, 255], [127, 127, 127]]]


def test_a_transparent_palette_entry_is_transparent() -> None:
    image = Image.new("P", (2, 2), 0)
    image.putpalette([200, 30, 30])
    assert decode(to_bytes(image, "GIF", transparency=0)).pixels[0, 0, 3] == 0


def test_the_first_frame_of_an_animation_is_read() -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in (RED, GREEN, BLUE)]
    data = to_bytes(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert np.abs(decode(data).pixels[4, 4, :3].astype(int) - RED).max() <= 4


def test_an_image_of_one_pixel_is_read() -> None:
    assert decode(to_bytes(Image.new("RGB", (1, 1), RED), "PNG")).pixels.shape == (1, 1, 3)


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "GIF", "BMP"])
@pytest.mark.parametrize("share", [0.05, 0.5, 0.9])
def test_a_truncated_image_is_refused_and_not_filled_with_grey(format: str, share: float) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (60, 40, 3), np.uint8)
    data = to_bytes(Image.fromarray(noise), format)
    with pytest.raises(UnreadableImage, match=f"the {format.lower()} image is broken or cut short"):
        decode(data[: int(len(data) * share)])


@pytest.mark.parametrize(
    "data", [b"%PDF-1.7", b"<svg xmlns='http://www.w3.org'/>", b"8BPS\0\1", b"RIFF1234WAVE",
             b"%!PS-Adobe", b"SIMPLE  =", b"plain text", b"\0" * 100]
)  # fmt: skip
def test_other_content_is_an_unsupported_format(data: bytes) -> None:
    with pytest.raises(UnsupportedImageFormat):
        decode(data)


def test_an_empty_file_is_unreadable() -> None:
    with pytest.raises(UnreadableImage, match="empty"):
        decode(b"")


def test_the_orientation_is_applied_with_any_profile() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    data = to_bytes(Image.new("RGB", (16, 8), RED), "JPEG", exif=exif, icc_profile=swapped_profile())
    assert decode(data).pixels.shape == (16, 8, 3)


def test_resizing_gives_exactly_the_requested_width_and_height() -> None:
    picture = images.resize(decode(to_bytes(quarters(), "PNG")), width=40, height=10)
    assert picture.pixels.shape == (10, 40, 3)
    assert_quarters(picture.pixels)


def test_shrinking_averages() -> None:
    board = np.indices((64, 64)).sum(0) % 2 * 255  # a checkerboard of single pixels
    data = to_bytes(Image.fromarray(board.astype(np.uint8)), "PNG")
    shrunk = images.resize(decode(data), 8, 8).pixels.astype(int)
    assert np.abs(shrunk - 128).max() <= 1


def test_enlarging_interpolates() -> None:
    ramp = Image.fromarray(np.array([[0, 255]], np.uint8))
    row = images.resize(decode(to_bytes(ramp, "PNG")), 16, 1).pixels[0, :, 0].astype(int)
    assert len(set(row)) > 4, "without interpolation there would be two values"
    assert (np.diff(row) >= 0).all()


def test_one_side_may_shrink_while_the_other_grows() -> None:
    stripes = np.tile(np.array([0, 255], np.uint8), (4, 32))  # 64 wide: columns of single pixels
    resized = images.resize(decode(to_bytes(Image.fromarray(stripes), "PNG")), width=8, height=16)
    assert np.abs(resized.pixels.astype(int) - 128).max() <= 1


def test_the_colour_of_transparent_pixels_does_not_bleed() -> None:
    image = Image.new("RGBA", (8, 8), (255, 255, 255, 255))
    image.paste((0, 255, 0, 0), (0, 0, 4, 8))  # transparent green
    edge = images.resize(decode(to_bytes(image, "PNG")), 2, 2).pixels
    shrunk = images.resize(images.Picture(edge, "png"), 1, 1).pixels[0, 0]
    assert shrunk[:3].tolist() == [255, 255, 255]
    assert abs(int(shrunk[3]) - 128) <= 1


@pytest.mark.parametrize(("format", "keeps"), [("jpeg", False), ("png", True), ("webp", True)])
def test_encoding_keeps_transparency_if_the_format_has_it(format: str, keeps: bool) -> None:
    picture = decode(to_bytes(Image.new("RGBA", (8, 8), (200, 30, 30, 0)), "PNG"))
    image = Image.open(io.BytesIO(images.encode(picture, format)))
    assert image.format == format.upper()
    assert image.size == (8, 8)
    assert image.has_transparency_data == keeps
    if not keeps:
        assert image.getpixel((4, 4)) == (255, 255, 255)


def swapped_profile() -> bytes:
    """Return an sRGB profile with red and blue swapped, under another name."""
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    swapped = srgb.replace(b"rXYZ", b"????", 1).replace(b"bXYZ", b"rXYZ", 1).replace(b"????", b"bXYZ", 1)
    return swapped.replace("sRGB".encode("utf-16-be"), "bGRs".encode("utf-16-be"))


@pytest.mark.parametrize(("mode", "format"), [("RGB", "PNG"), ("RGBA", "PNG"), ("RGB", "JPEG"), ("P", "PNG")])
def test_colours_of_another_profile_are_converted_to_srgb(mode: str, format: str) -> None:
    red = Image.new("RGB", (16, 16), (200, 30, 60))
    image = red.quantize(4) if mode == "P" else red.convert(mode)
    pixels = decode(to_bytes(image, format, icc_profile=swapped_profile())).pixels
    assert pixels.shape == (16, 16, len(mode) if mode != "P" else 3)
    assert np.abs(pixels[2, 2, :3].astype(int) - (60, 30, 200)).max() <= 4, "the profile swaps red and blue"


def linear_grey_profile() -> bytes:
    """Return a minimal grey ICC profile with linear light, unlike sRGB's curve."""
    white = b"XYZ \0\0\0\0" + struct.pack(">3i", 63190, 65536, 54061)  # D50
    curve = b"curv\0\0\0\0" + struct.pack(">I", 0)  # no points: the identity
    name = b"desc\0\0\0\0" + struct.pack(">I", 7) + b"linear\0" + b"\0" * 79
    tags, body = b"", b""
    for signature, content in ((b"wtpt", white), (b"kTRC", curve), (b"desc", name)):
        tags += signature + struct.pack(">2I", 128 + 4 + 3 * 12 + len(body), len(content))
        body += content + b"\0" * (-len(content) % 4)
    head = b"\0\0\0\0\2\x40\0\0mntrGRAYXYZ " + b"\0" * 12 + b"acsp" + b"\0" * 28 + white[8:] + b"\0" * 48
    size = struct.pack(">I", 128 + 4 + len(tags) + len(body))
    return size + head + struct.pack(">I", 3) + tags + body


@pytest.mark.parametrize("mode", ["L", "LA"])
def test_the_profile_of_a_grey_image_is_applied(mode: str) -> None:
    image = Image.new("L", (4, 4), 55).convert(mode)
    pixels = decode(to_bytes(image, "PNG", icc_profile=linear_grey_profile())).flatten()
    assert np.abs(pixels[0, 0].astype(int) - 128).max() <= 2, "55 of 255 in linear light is sRGB's middle grey"


def test_a_profile_for_another_colour_model_is_ignored() -> None:
    data = to_bytes(quarters().convert("CMYK"), "JPEG", quality=95, icc_profile=swapped_profile())
    assert_quarters(decode(data).pixels, tolerance=10)


def test_an_srgb_profile_changes_nothing() -> None:
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    data = to_bytes(quarters(), "PNG", icc_profile=srgb)
    assert (decode(data).pixels == np.asarray(quarters())).all()


@pytest.mark.parametrize("profile", [b"no profile", b""])
def test_a_broken_profile_is_ignored(profile: bytes) -> None:
    assert_quarters(decode(to_bytes(quarters(), "PNG", icc_profile=profile)).pixels)


def test_the_transparent_value_of_16_bit_grey_is_transparent() -> None:
    wide = np.full((4, 4), 30_000, np.uint16)
    wide[:, 2:] = 60_000
    data = to_bytes(Image.fromarray(wide), "PNG", transparency=30_000)
    pixels = decode(data).pixels
    assert pixels[0, 0, 3] == 0
    assert pixels[0, 3].tolist() == [233, 233, 233, 255]
