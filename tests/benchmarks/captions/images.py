"""Distinct images to caption: PNG files of the size that the model sees."""

import io
from functools import cache

import numpy as np
from PIL import Image


@cache
def image(number: int) -> bytes:
    """Image `number`: blurred noise, so that no cache and no luck helps anyone."""
    noise = np.random.default_rng(number).integers(0, 256, (14, 14, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).resize((224, 224), Image.Resampling.BICUBIC).save(buffer, "PNG")
    return buffer.getvalue()
