"""Decoded pixels, and functions that flatten, resize and encode them."""

import io
from dataclasses import dataclass

import cv2
import numpy as np
from PIL import Image

from flaskapp.machine import usable_cores
from flaskapp.threads import Threads

# Formats that can be written, with their file endings.
ENDINGS = {"jpeg": "jpg", "png": "png", "webp": "webp"}

BACKGROUND = "white"  # replaces transparency in formats without it
QUALITY = 90  # of JPEG and WebP
ROWS = 256  # rows composed with the background at once: composing all would double the memory

threads = Threads(usable_cores())  # for work on images in a gevent worker


@dataclass(frozen=True)
class Picture:
    """Decoded pixels, and the format of their file."""

    pixels: np.ndarray  # uint8 [height, width, 3 or 4]
    format: str
    is_turned: bool = False  # whether the EXIF orientation swapped width and height

    def flatten(self) -> np.ndarray:
        """Return RGB pixels [height, width, 3], with transparency over white."""
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
    """Resize to exactly `width` x `height`: by area averaging where it shrinks, by interpolation where it grows."""
    return Picture(threads.run(lambda: _resize(picture.pixels, width, height)), picture.format)


def _resize(pixels: np.ndarray, width: int, height: int) -> np.ndarray:
    if pixels.shape[2] == 3:
        return _resize_pixels(pixels, width, height)
    # RGBa is premultiplied alpha: colours of invisible pixels do not bleed into the edges
    weighted = _resize_pixels(np.asarray(Image.fromarray(pixels).convert("RGBa")), width, height)
    weighted[..., :3] = np.minimum(weighted[..., :3], weighted[..., 3:])  # interpolation may overshoot
    return np.asarray(Image.frombytes("RGBa", (width, height), weighted.tobytes()).convert("RGBA"))


def _resize_pixels(pixels: np.ndarray, width: int, height: int) -> np.ndarray:
    shrunk = min(width, pixels.shape[1]), min(height, pixels.shape[0])
    pixels = cv2.resize(pixels, shrunk, interpolation=cv2.INTER_AREA)
    return cv2.resize(pixels, (width, height), interpolation=cv2.INTER_CUBIC)


def encode(picture: Picture, format: str) -> bytes:
    """Encode as "jpeg", "png" or "webp". In JPEG, transparency becomes white."""
    pixels = picture.flatten() if format == "jpeg" else picture.pixels
    return threads.run(lambda: _encode(pixels, format))


def _encode(pixels: np.ndarray, format: str) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format, quality=QUALITY)
    return buffer.getvalue()
