"""The sample pictures of the demo page. `python -m flaskapp.api.demo` draws their files."""

import math
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from flaskapp.captioner.embedded.scenes import Scene, Thing, paint

FOLDER = Path(__file__).with_name("static") / "samples"
WIDTH, HEIGHT = 320, 240  # pixels
EXTENTS = {"large": 0.36, "small": 0.21}  # fractions of sqrt(image area)
PALETTE_COLOURS = 128  # a palette reduces the file to a third


class Sample(NamedTuple):
    name: str
    scene: Scene


def _thing(size: str, colour: str, shape: str, x: float, y: float, angle: float = 0.0) -> Thing:
    """`x` and `y` are fractions of the picture's sides."""
    extent = EXTENTS[size] * math.sqrt(WIDTH * HEIGHT)
    return Thing(size, colour, shape, x * WIDTH, y * HEIGHT, extent, angle)


def _scene(background: str, texture: str, *things: Thing) -> Scene:
    return Scene(WIDTH, HEIGHT, background, texture, things)


SAMPLES = (
    Sample("star_and_circle.png", _scene(
        "blue", "gradient",
        _thing("large", "yellow", "star", 0.33, 0.5, 0.1),
        _thing("small", "white", "circle", 0.76, 0.45),
    )),
    Sample("circle_and_square.png", _scene(
        "green", "stripes",
        _thing("large", "red", "circle", 0.3, 0.48),
        _thing("small", "white", "square", 0.74, 0.54, 0.12),
    )),
    Sample("triangle_and_ring.png", _scene(
        "yellow", "gradient",
        _thing("large", "purple", "triangle", 0.5, 0.64),
        _thing("small", "blue", "ring", 0.54, 0.2),
    )),
    Sample("diamond_and_triangle.png", _scene(
        "black", "gradient",
        _thing("large", "pink", "diamond", 0.66, 0.5),
        _thing("small", "orange", "triangle", 0.24, 0.55),
    )),
    Sample("two_crosses.png", _scene(
        "grey", "checks",
        _thing("small", "orange", "cross", 0.28, 0.46, 0.1),
        _thing("small", "black", "cross", 0.7, 0.52, -0.1),
    )),
    Sample("square_and_star.png", _scene(
        "pink", "stripes",
        _thing("large", "brown", "square", 0.47, 0.33),
        _thing("small", "green", "star", 0.52, 0.82),
    )),
)  # fmt: skip


def draw_all(folder: Path = FOLDER) -> None:
    for number, (name, scene) in enumerate(SAMPLES):
        picture = paint(scene, np.random.default_rng(number))
        picture.quantize(PALETTE_COLOURS, dither=Image.Dither.NONE).save(folder / name, optimize=True)
