"""Distinct images to caption: small PNG files, and JPEG files as a phone makes them."""

import io
from functools import cache

import numpy as np
from PIL import Image

from tests.photograph import photograph

PHONE = (4032, 3024)  # pixels: 12 megapixels


@cache
def image(number: int) -> bytes:
    """Image `number`: blurred noise, so that no cache and no luck helps anyone."""
    noise = np.random.default_rng(number).integers(0, 256, (14, 14, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).resize((224, 224), Image.Resampling.BICUBIC).save(buffer, "PNG")
    return buffer.getvalue()


def phone_photograph(number: int) -> bytes:
    """A 12-megapixel JPEG. Each number has bytes of its own; the picture is the same."""
    data = _phone_photograph()
    comment = number.to_bytes(8, "big")
    return data[:2] + b"\xff\xfe" + (2 + len(comment)).to_bytes(2, "big") + comment + data[2:]


@cache
def _phone_photograph() -> bytes:
    buffer = io.BytesIO()
    photograph(*PHONE).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()
