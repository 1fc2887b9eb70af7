"""Distinct images to caption: small PNG files, and JPEG files like a phone's."""

import io
from functools import cache

import numpy as np
from PIL import Image

from tests.photograph import photograph

PHONE = (4032, 3024)  # pixels: 12 megapixels


@cache
def image(number: int) -> bytes:
    """Return image `number`: blurred noise, so that no server benefits from a cache."""
    noise = np.random.default_rng(number).integers(0, 256, (14, 14, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).resize((224, 224), Image.Resampling.BICUBIC).save(buffer, "PNG")
    return buffer.getvalue()


def phone_photograph(number: int) -> bytes:
    """Return a 12-megapixel JPEG. The bytes differ for each number, the pixels do not."""
    data = _phone_photograph()
    comment = number.to_bytes(8, "big")
    return data[:2] + b"\xff\xfe" + (2 + len(comment)).to_bytes(2, "big") + comment + data[2:]


@cache
def _phone_photograph() -> bytes:
    buffer = io.BytesIO()
    photograph(*PHONE).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()
