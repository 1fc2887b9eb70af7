"""Draws scenes with their captions: the training data of the embedded model.

A scene has one or two flat shapes on a plain, graded or textured background, with noise and JPEG artefacts, at varying
image sizes. Each scene has exactly one right caption, so that a caption is either right or wrong:

    a small red star on a grey background
    a large red circle above a small blue square on a green background
"""

import io
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (214, 38, 38),
    "orange": (245, 140, 28),
    "yellow": (246, 222, 50),
    "green": (48, 158, 68),
    "blue": (38, 88, 212),
    "purple": (128, 56, 170),
    "pink": (250, 152, 192),
    "brown": (120, 74, 38),
    "black": (24, 24, 24),
    "white": (244, 244, 244),
    "grey": (136, 136, 136),
}
# Extent of a thing, as a fraction of sqrt(image area): resizing to a square keeps this ratio.
SIZES: dict[str, tuple[float, float]] = {"large": (0.32, 0.38), "small": (0.18, 0.23)}
RELATIONS = {
    "above": "below",
    "below": "above",
    "left of": "right of",
    "right of": "left of",
}  # relation -> its opposite
SHAPES = ("circle", "square", "triangle", "diamond", "star", "cross", "ring")
BACKGROUNDS = ("plain", "gradient", "stripes", "checks", "speckles")

GAP = 0.03  # between two things, as a fraction of the image's side
CLEARLY = 2.5  # least ratio of the distances along and across a relation: "above" is mainly vertical

RANDOM_STREAMS = {"train": 1, "held-out": 2}  # seeds: held-out scenes are never trained on

Random = np.random.Generator


@dataclass(frozen=True)
class Thing:
    """One flat shape. `x`, `y` (its centre) and `extent` are pixels; `angle` is in radians."""

    size: str
    colour: str
    shape: str
    x: float
    y: float
    extent: float
    angle: float

    @property
    def description(self) -> str:
        return f"a {self.size} {self.colour} {self.shape}"


@dataclass(frozen=True)
class Scene:
    """The contents of a picture. The caption names the larger thing first; of equals, the upper or the left one."""

    width: int
    height: int
    background: str
    texture: str
    things: tuple[Thing, ...]

    @property
    def caption(self) -> str:
        article = "an" if self.background[0] in "aeiou" else "a"
        subject = self.things[0].description
        if len(self.things) == 2:
            subject += f" {self.relation} {self.things[1].description}"
        return f"{subject} on {article} {self.background} background"

    @property
    def relation(self) -> str:
        """The position of the first thing relative to the second."""
        first, second = self.things
        dx, dy = (first.x - second.x) / self.width, (first.y - second.y) / self.height
        if abs(dy) > abs(dx):
            return "above" if dy < 0 else "below"
        return "left of" if dx < 0 else "right of"


def scene_at(stream: str, index: int) -> tuple[Image.Image, str]:
    """Return the RGB picture and the caption of scene number `index` of a stream ("train" or "held-out")."""
    picture, scene = picture_at(stream, index)
    return picture, scene.caption


def picture_at(stream: str, index: int) -> tuple[Image.Image, Scene]:
    """Return the RGB picture of scene number `index` of a stream, and the scene."""
    rng = np.random.default_rng((RANDOM_STREAMS[stream], index))
    scene = imagine(rng)
    return draw(scene, rng), scene


def imagine(rng: Random) -> Scene:
    """Choose a scene that has exactly one right caption."""
    while True:
        side = math.exp(rng.uniform(math.log(80), math.log(224)))
        aspect = math.exp(rng.uniform(-0.4, 0.4))  # width / height, 0.67 to 1.5
        width, height = round(side * math.sqrt(aspect)), round(side / math.sqrt(aspect))
        background, *colours = rng.choice(list(COLOURS), size=3, replace=False)
        if rng.random() < 0.15:
            colours[1] = colours[0]
        count = 1 if rng.random() < 0.25 else 2
        things = tuple(_imagine_thing(rng, str(colour), width, height) for colour in colours[:count])
        if count == 2 and not _stand_clearly_apart(things, width, height):
            continue
        in_order = sorted(things, key=lambda thing: _precedence(thing, things, width, height))
        return Scene(width, height, str(background), str(rng.choice(BACKGROUNDS)), tuple(in_order))


def _imagine_thing(rng: Random, colour: str, width: int, height: int) -> Thing:
    size = str(rng.choice(list(SIZES)))
    extent = rng.uniform(*SIZES[size]) * math.sqrt(width * height)
    half = extent / 2 + 1
    return Thing(
        size=size,
        colour=colour,
        shape=str(rng.choice(SHAPES)),
        x=rng.uniform(half, width - half),
        y=rng.uniform(half, height - half),
        extent=extent,
        angle=rng.uniform(-0.15, 0.15),
    )


def _stand_clearly_apart(things: tuple[Thing, ...], width: int, height: int) -> bool:
    """Whether two things neither touch nor lie so diagonally that two relations would be right."""
    one, other = things
    dx, dy = abs(one.x - other.x), abs(one.y - other.y)
    reach = (one.extent + other.extent) / 2
    if max(dx - reach - GAP * width, dy - reach - GAP * height) < 0:
        return False
    near, far = sorted((dx / width, dy / height))
    return far > CLEARLY * near


def _precedence(thing: Thing, things: tuple[Thing, ...], width: int, height: int) -> tuple[bool, float]:
    """Sort key: the larger first; of equals the upper one, or the left one if they lie side by side."""
    one, other = things[0], things[-1]
    stacked = abs(one.y - other.y) / height > abs(one.x - other.x) / width
    return thing.size != "large", thing.y if stacked else thing.x


def draw(scene: Scene, rng: Random) -> Image.Image:
    """Draw the scene as an RGB picture with noise and JPEG artefacts."""
    return _compress(_add_noise(paint(scene, rng), rng), rng)


def paint(scene: Scene, rng: Random) -> Image.Image:
    """Draw the scene as a clean RGB picture."""
    picture = _draw_background(scene, rng)
    for thing in scene.things:
        mask = _draw_mask(thing)
        corner = round(thing.x - mask.width / 2), round(thing.y - mask.height / 2)
        picture.paste(_tint(thing.colour, rng), (*corner, corner[0] + mask.width, corner[1] + mask.height), mask)
    return picture


def _tint(colour: str, rng: Random) -> tuple[int, ...]:
    jittered = np.array(COLOURS[colour]) + rng.integers(-12, 13) + rng.integers(-6, 7, size=3)
    return tuple(int(channel) for channel in jittered.clip(0, 255))


def _draw_background(scene: Scene, rng: Random) -> Image.Image:
    """Draw a tint, made lighter and darker by up to 20 of 255 by a gradient or texture."""
    y, x = np.mgrid[0 : scene.height, 0 : scene.width].astype(np.float32)
    angle = rng.uniform(0, math.tau)
    along = x * math.cos(angle) + y * math.sin(angle)
    period = rng.uniform(0.05, 0.2) * math.sqrt(scene.width * scene.height)
    texture: Callable[[], np.ndarray] = {
        "plain": lambda: np.zeros_like(x),
        "gradient": lambda: 2 * (along - along.min()) / (np.ptp(along) + 1) - 1,
        "stripes": lambda: np.sin(math.tau * along / period),
        "checks": lambda: np.sign(np.sin(math.pi * x / period) * np.sin(math.pi * y / period)),
        "speckles": lambda: rng.uniform(-1, 1, size=x.shape),
    }[scene.texture]
    strength = rng.uniform(8, 20)
    pixels = np.array(_tint(scene.background, rng)) + strength * texture()[..., np.newaxis]
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def _draw_mask(thing: Thing) -> Image.Image:
    """Draw the thing as a smooth mask: four times too large, then averaged down."""
    side = math.ceil(thing.extent)
    mask = Image.new("L", (4 * side, 4 * side))
    pen = ImageDraw.Draw(mask)
    centre = radius = 2 * side
    if thing.shape in ("circle", "ring"):
        pen.ellipse((0, 0, 4 * side - 1, 4 * side - 1), fill=255)
        if thing.shape == "ring":
            inner = 0.55 * radius
            pen.ellipse((centre - inner, centre - inner, centre + inner, centre + inner), fill=0)
    else:
        cos, sin = math.cos(thing.angle), math.sin(thing.angle)
        turned = [(x * cos - y * sin, x * sin + y * cos) for x, y in _outline(thing.shape)]
        pen.polygon([(centre + radius * x, centre + radius * y) for x, y in turned], fill=255)
    return mask.reduce(4)


def _outline(shape: str) -> list[tuple[float, float]]:
    """Return the corners of a shape within the square from -1 to 1; y points down."""
    arm = 0.32
    match shape:
        case "square":
            return [(-0.85, -0.85), (0.85, -0.85), (0.85, 0.85), (-0.85, 0.85)]
        case "triangle":
            return [(0.0, -0.95), (0.92, 0.8), (-0.92, 0.8)]
        case "diamond":
            return [(0.0, -1.0), (0.7, 0.0), (0.0, 1.0), (-0.7, 0.0)]
        case "star":
            radii = [1.0, 0.42] * 5
            turns = [math.pi * i / 5 for i in range(10)]
            return [(r * math.sin(turn), -r * math.cos(turn)) for r, turn in zip(radii, turns, strict=True)]
        case "cross":
            quarter = [(-arm, -1.0), (arm, -1.0), (arm, -arm)]
            corners = []
            for _ in range(4):
                corners += quarter
                quarter = [(-y, x) for x, y in quarter]
            return corners
    raise ValueError(f"no outline for {shape!r}")


def _add_noise(picture: Image.Image, rng: Random) -> Image.Image:
    sigma = rng.uniform(0, 10)
    pixels = np.asarray(picture, dtype=np.float32)
    noise = rng.standard_normal(pixels.shape, dtype=np.float32) * np.float32(sigma)
    return Image.fromarray((pixels + noise).clip(0, 255).astype(np.uint8))


def _compress(picture: Image.Image, rng: Random) -> Image.Image:
    if rng.random() < 0.3:
        return picture
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=int(rng.integers(35, 96)))
    return Image.open(buffer).convert("RGB")
