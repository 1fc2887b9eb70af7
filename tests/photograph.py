"""An image with the frequencies of a photograph."""

from functools import cache

import cv2
import numpy as np
from PIL import Image

OCTAVES = 9


@cache
def photograph(width: int, height: int) -> Image.Image:
    """Return an RGB image with detail of every scale: octaves of smoothed noise, weaker at finer scales."""
    rng = np.random.default_rng(0)
    total = np.zeros((height, width, 3), np.float32)
    for octave in range(OCTAVES):
        small = rng.standard_normal((3 + 2**octave, 4 + 2**octave, 3)).astype(np.float32)
        total += cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC) / 2 ** (0.5 * octave)
    return Image.fromarray((128 + 40 * total).clip(0, 255).astype(np.uint8))
