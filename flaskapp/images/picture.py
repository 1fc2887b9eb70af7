"""Decoded pixels: flatten, resize, encode."""

import io
from dataclasses import dataclass

import cv2
import numpy as np
from PIL import Image

from flaskapp.machine import usable_cores
from flaskapp.threads import Threads

# What we write: the format's name to the ending of its files.
ENDINGS = {"jpeg": "jpg", "png": "png", "webp": "webp"}

BACKGROUND = "white"  # what shows through where transparency cannot be kept
QUALITY = 90  # of JPEG and WebP
ROWS = 256  # composed with the background at once: a copy of the whole image would need as much memory again

threads = Threads(usable_cores())  # of a gevent worker, for the work on images


@dataclass(frozen=True)
class Picture:
    """Decoded pixels, and the format that they came in."""

    pixels: np.ndarray  # uint8 [height, width, 3 or 4]
    format: str
    is_turned: bool = False  # by its EXIF orientation, so that its width was the file's height

    def flatten(self) -> np.ndarray:
        """The pixels in RGB [height, width, 3], transparency laid over white."""
        return self.pixels if self.pixels.shape[2] == 3 else threads.run(self._lay_over_background)

    def _lay_over_background(self) -> np.ndarray:
        height, width, _ = self.pixels.shape
        flat = np.empty((height, width, 3), np.uint8)
        for top in range(0, height, ROWS):
            image = Image.fromarray(self.pixels[top : top + ROWS])
            background = Image.new("RGBA", image.size, BACKGROUND)
            flat[top : top + ROWS] = np.asarray(Image.alpha_composite(background, image).convert("RGB"))
        return flat


def resize(picture: Picture, width: int, height: int) -> Picture:
    """Resize to exactly `width` x `height`: averaging the area where it shrinks, interpolating where it grows."""
    return Picture(threads.run(lambda: _resize(picture.pixels, width, height)), picture.format)


def _resize(pixels: np.ndarray, width: int, height: int) -> np.ndarray:
    if pixels.shape[2] == 3:
        return _resize_pixels(pixels, width, height)
    # Pillow's RGBa has colours weighed by their alpha: those of invisible pixels do not bleed into the edges
    weighted = _resize_pixels(np.asarray(Image.fromarray(pixels).convert("RGBa")), width, height)
    weighted[..., :3] = np.minimum(weighted[..., :3], weighted[..., 3:])  # interpolation may overshoot
    return np.asarray(Image.frombytes("RGBa", (width, height), weighted.tobytes()).convert("RGBA"))


def _resize_pixels(pixels: np.ndarray, width: int, height: int) -> np.ndarray:
    shrunk = min(width, pixels.shape[1]), min(height, pixels.shape[0])
    pixels = cv2.resize(pixels, shrunk, interpolation=cv2.INTER_AREA)
    return cv2.resize(pixels, (width, height), interpolation=cv2.INTER_CUBIC)


def encode(picture: Picture, format: str) -> bytes:
    """Encode as "jpeg", "png" or "webp". JPEG has no transparency: the image is laid over white."""
    pixels = picture.flatten() if format == "jpeg" else picture.pixels
    return threads.run(lambda: _encode(pixels, format))


def _encode(pixels: np.ndarray, format: str) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format, quality=QUALITY)
    return buffer.getvalue()
