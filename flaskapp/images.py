"""Images: bytes of a known format -> upright 8-bit sRGB pixels -> resized -> bytes. All in memory.

Pixels are uint8 arrays [height, width, 3] (RGB) or [height, width, 4] (RGBA, where the upload had transparency).
"""

import io
import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import cv2
import numpy as np
from PIL import Image, ImageCms, ImageOps

from flaskapp.errors import FlaskappError, TooBusy, UnreadableImage, UnsupportedImageFormat
from flaskapp.turns import Turns

log = logging.getLogger(__name__)

SRGB = ImageCms.createProfile("sRGB")

# Our own limit, from the settings, replaces Pillow's warning and its error: uploads are opened in this module alone.
Image.MAX_IMAGE_PIXELS = None

# Pillow keeps pixels in blocks. Those of 64 MiB go back to the system when they are freed; at the default size of 16,
# each thread's allocator keeps them for later: a worker with many threads would grow by as many images.
Image.core.set_block_size(2**26)  # type: ignore[attr-defined]

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

# The compressions of BMP that Pillow decodes in Python, a pixel at a time: a file of 30 kB, whose rows are mostly left
# out, could take it four seconds. They may have a tenth of the pixels.
RUN_LENGTHS, SLOWER = (1, 2), 10

# A decoded image takes three or four bytes a pixel, and as much again for each step on its way.
PIXELS_AT_ONCE = 60_000_000
turns = Turns(PIXELS_AT_ONCE, wait=10, busy="too many large images at once")

# A JPEG is decoded with sides of at least so many times the side that it will be resized to.
SPARE = 2

BACKGROUND = "white"  # what shows through where transparency cannot be kept
QUALITY = 90  # of JPEG and WebP


@dataclass(frozen=True)
class Picture:
    """Decoded pixels, and the format that they came in."""

    pixels: np.ndarray  # uint8 [height, width, 3 or 4]
    format: str

    def flatten(self) -> np.ndarray:
        """The pixels in RGB [height, width, 3], transparency laid over white."""
        if self.pixels.shape[2] == 3:
            return self.pixels
        image = Image.fromarray(self.pixels)
        background = Image.new("RGBA", image.size, BACKGROUND)
        return np.asarray(Image.alpha_composite(background, image).convert("RGB"))


class EncodedImage:
    """The bytes of a JPEG, PNG, WebP, GIF or BMP, of which so far only the header was read. `format` is its name.

    Raises UnsupportedImageFormat for other content, UnreadableImage for a broken header or one that tells of more
    pixels than `max_megapixels` million.
    """

    def __init__(self, data: bytes, max_megapixels: float) -> None:
        self._data = data
        self.format = _format_of(data)
        with self._open() as image:
            self._size = image.width * image.height  # in pixels
            if self.format == "bmp" and image.info.get("compression") in RUN_LENGTHS:
                max_megapixels /= SLOWER
            if self._size > max_megapixels * 1_000_000:
                raise UnreadableImage(f"the image has more than {max_megapixels:g} megapixels")

    @contextmanager
    def decoded(self, for_side: int | None = None, *, patient: bool = False) -> Iterator[Picture]:
        """`decode` when its turn comes. When the block ends, the memory is others': keep nothing as large beyond it.

        Raises UnreadableImage, or TooBusy where others have all the memory for too long, unless it is `patient`.
        """
        with turns.take(self._size, patient=patient), _finding_memory():
            yield self.decode(for_side)

    def decode(self, for_side: int | None = None) -> Picture:
        """Read the first frame: whole, upright by its EXIF orientation, in right colours.

        An image that will be shrunk until no side is longer than `for_side` pixels may come smaller than it is: a JPEG
        can be read at a half, a quarter or an eighth of its size. It stays at least SPARE times as large as it will be.
        Raises UnreadableImage for an image that is broken or cut short, TooBusy where there is no memory for it.
        """
        with _finding_memory(), self._open() as image:
            if for_side is not None:
                needed = SPARE * for_side
                image.draft(None, (needed, needed))
            image.load()
            with suppress(Exception):  # an orientation that cannot be read counts as 1, upright
                ImageOps.exif_transpose(image, in_place=True)
            return Picture(np.asarray(_to_srgb(_to_8_bit(image))), self.format)

    @contextmanager
    def _open(self) -> Iterator[Image.Image]:
        try:
            with Image.open(io.BytesIO(self._data), formats=[self.format.upper()]) as image:
                yield image
        except (FlaskappError, MemoryError):
            raise
        except Exception as error:  # decoders raise whatever comes to mind: OSError, ValueError, struct.error
            log.debug("An image could not be read", exc_info=True)
            raise UnreadableImage(f"the {self.format} image is broken or cut short") from error


@contextmanager
def _finding_memory() -> Iterator[None]:
    try:
        yield
    except (MemoryError, cv2.error) as error:
        if isinstance(error, cv2.error) and error.code != cv2.Error.StsNoMem:
            raise
        raise TooBusy("there is no memory for the image at the moment", retry_after=5) from error


def _format_of(data: bytes) -> str:
    if not data:
        raise UnreadableImage("the file is empty")
    for signature, format in SIGNATURES.items():
        if data.startswith(signature) and (format != "webp" or data[8:12] == b"WEBP"):
            return format
    raise UnsupportedImageFormat("this is not an image that can be read here: send JPEG, PNG, WebP, GIF or BMP")


def _to_8_bit(image: Image.Image) -> Image.Image:
    """Scale 16-bit grey, which Pillow itself would clip; its transparent value becomes an alpha channel."""
    if not image.mode.startswith("I"):
        return image
    wide = np.asarray(image).astype(np.uint32)
    grey = Image.fromarray(((wide * 255 + 32767) // 65535).astype(np.uint8))
    if (transparent := image.info.get("transparency")) is not None:
        grey.putalpha(Image.fromarray(np.where(wide == transparent, 0, 255).astype(np.uint8)))
    grey.info = {name: value for name, value in image.info.items() if name != "transparency"}
    return grey


def _to_srgb(image: Image.Image) -> Image.Image:
    """RGBA if the image has transparency of any kind, else RGB; colours of an embedded profile are converted."""
    mode = "RGBA" if image.has_transparency_data else "RGB"
    plain = image if image.mode == mode else image.convert(mode)
    profile = image.info.get("icc_profile")
    if not profile:
        return plain
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if "sRGB" in ImageCms.getProfileDescription(source):
            return plain
        colours = image if image.mode in ("L", "CMYK") else image.convert("L" if image.mode == "LA" else "RGB")
        converted = ImageCms.profileToProfile(colours, source, SRGB, outputMode="RGB")
    except (ImageCms.PyCMSError, OSError):  # broken, or for other colours than these: show them as they are
        return plain
    assert converted is not None  # it is, unless it works in place
    if plain.mode == "RGBA":
        converted.putalpha(plain.getchannel("A"))
    return converted


def resize(picture: Picture, width: int, height: int) -> Picture:
    """Resize to exactly `width` x `height`: averaging the area where it shrinks, interpolating where it grows."""
    if picture.pixels.shape[2] == 3:
        pixels = _resize_pixels(picture.pixels, width, height)
    else:  # Pillow's RGBa has colours weighed by their alpha: those of invisible pixels do not bleed into the edges
        weighted = _resize_pixels(np.asarray(Image.fromarray(picture.pixels).convert("RGBa")), width, height)
        weighted[..., :3] = np.minimum(weighted[..., :3], weighted[..., 3:])  # interpolation may overshoot
        resized = Image.frombytes("RGBa", (width, height), weighted.tobytes())
        pixels = np.asarray(resized.convert("RGBA"))
    return Picture(pixels, picture.format)


def _resize_pixels(pixels: np.ndarray, width: int, height: int) -> np.ndarray:
    shrunk = min(width, pixels.shape[1]), min(height, pixels.shape[0])
    pixels = cv2.resize(pixels, shrunk, interpolation=cv2.INTER_AREA)
    return cv2.resize(pixels, (width, height), interpolation=cv2.INTER_CUBIC)


def encode(picture: Picture, format: str) -> bytes:
    """Encode as "jpeg", "png" or "webp". JPEG has no transparency: the image is laid over white."""
    image = Image.fromarray(picture.flatten() if format == "jpeg" else picture.pixels)
    buffer = io.BytesIO()
    image.save(buffer, format, quality=QUALITY)
    return buffer.getvalue()
