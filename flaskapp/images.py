"""Images: bytes of a known format -> upright 8-bit sRGB pixels -> resized -> bytes. All in memory.

Pixels are uint8 arrays [height, width, 3] (RGB) or [height, width, 4] (RGBA, where the upload had transparency).
"""

import io
from dataclasses import dataclass

import cv2
import numpy as np
from PIL import Image, ImageCms, ImageOps

from flaskapp.errors import UnreadableImage, UnsupportedImageFormat

Image.MAX_IMAGE_PIXELS = None  # our own limit, from the settings, replaces Pillow's warning and its error

# What we read, by the bytes that such a file starts with. The content decides, never a name or a content type.
SIGNATURES = {
    b"\xff\xd8\xff": "jpeg",
    b"\x89PNG\r\n\x1a\n": "png",
    b"RIFF": "webp",
    b"GIF87a": "gif",
    b"GIF89a": "gif",
    b"BM": "bmp",
}
# What we write: the format's name to the ending of its files.
ENDINGS = {"jpeg": "jpg", "png": "png", "webp": "webp"}

BACKGROUND = 255  # white: what shows through where transparency cannot be kept
JPEG_QUALITY = 90


@dataclass(frozen=True)
class Picture:
    """Decoded pixels, the format that they came in, and the colour profile that they are still in, if any."""

    pixels: np.ndarray  # uint8 [height, width, 3 or 4]
    format: str
    profile: bytes | None = None

    @property
    def opaque(self) -> np.ndarray:
        """The pixels in RGB [height, width, 3], transparency laid over white."""
        if self.pixels.shape[2] == 3:
            return self.pixels
        colour, alpha = self.pixels[..., :3].astype(np.uint16), self.pixels[..., 3:].astype(np.uint16)
        return ((colour * alpha + BACKGROUND * (255 - alpha) + 127) // 255).astype(np.uint8)


def decode(data: bytes, max_megapixels: float) -> Picture:
    """Read the first frame of a JPEG, PNG, WebP, GIF or BMP: whole, upright by its EXIF orientation, in right colours.

    Raises UnsupportedImageFormat for other content, UnreadableImage for a broken image or one with more pixels than
    `max_megapixels` million; that is told from the header, before any pixel is decoded.
    """
    format = _format_of(data)
    try:
        with Image.open(io.BytesIO(data), formats=[format.upper()]) as image:
            if image.width * image.height > max_megapixels * 1_000_000:
                raise UnreadableImage(f"the image has more than {max_megapixels} megapixels")
            image.load()
            profile = image.info.get("icc_profile") if image.mode in ("RGB", "RGBA") else None
            return Picture(np.asarray(_to_8_bit(_upright(image))), format, profile)
    except UnreadableImage:
        raise
    except Exception as error:  # decoders raise whatever comes to mind: OSError, ValueError, SyntaxError, struct.error
        raise UnreadableImage(f"the {format} image is broken or cut short") from error


def _format_of(data: bytes) -> str:
    if not data:
        raise UnreadableImage("the file is empty")
    for signature, format in SIGNATURES.items():
        if data.startswith(signature) and (format != "webp" or data[8:12] == b"WEBP"):
            return format
    raise UnsupportedImageFormat("this is not an image that can be read here: send JPEG, PNG, WebP, GIF or BMP")


def _upright(image: Image.Image) -> Image.Image:
    """Apply the EXIF orientation. A tag that cannot be read counts as 1, upright."""
    try:
        return ImageOps.exif_transpose(image)
    except Exception:
        return image


def _to_8_bit(image: Image.Image) -> Image.Image:
    """RGBA if the image has transparency of any kind, else RGB. 16-bit grey is scaled: Pillow itself would clip it."""
    if image.mode.startswith("I"):
        wide = np.asarray(image).astype(np.uint32)
        image = Image.fromarray(((wide * 255 + 32767) // 65535).astype(np.uint8))
    return image.convert("RGBA" if image.has_transparency_data else "RGB")


def resize(picture: Picture, width: int, height: int) -> Picture:
    """Resize to exactly `width` x `height`: averaging the area where it shrinks, interpolating where it grows."""
    if picture.pixels.shape[2] == 3:
        pixels = _resize_pixels(picture.pixels, width, height)
    else:  # weigh colours by their alpha, so that the colour of invisible pixels does not bleed into the edges
        weighted = picture.pixels.astype(np.float32)
        weighted[..., :3] *= weighted[..., 3:] / 255
        weighted = _resize_pixels(weighted, width, height).clip(0, 255)
        weighted[..., :3] *= 255 / np.maximum(weighted[..., 3:], 1)
        pixels = weighted.round().clip(0, 255).astype(np.uint8)
    return Picture(pixels, picture.format, picture.profile)


def _resize_pixels(pixels: np.ndarray, width: int, height: int) -> np.ndarray:
    shrunk = min(width, pixels.shape[1]), min(height, pixels.shape[0])
    pixels = cv2.resize(pixels, shrunk, interpolation=cv2.INTER_AREA)
    return cv2.resize(pixels, (width, height), interpolation=cv2.INTER_CUBIC)


def encode(picture: Picture, format: str) -> bytes:
    """Encode as "jpeg", "png" or "webp", in sRGB. JPEG has no transparency: the image is laid over white."""
    image = Image.fromarray(picture.opaque if format == "jpeg" else picture.pixels)
    buffer = io.BytesIO()
    _to_srgb(image, picture.profile).save(buffer, format, quality=JPEG_QUALITY)
    return buffer.getvalue()


def _to_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    if profile is None:
        return image
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        converted = ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"))
    except (ImageCms.PyCMSError, OSError):  # a broken profile: show the colours as they are
        return image
    return converted or image
