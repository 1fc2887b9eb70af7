"""Captions of photographs decoded at a smaller scale: `python -m tests.benchmarks.photographs --scenes 1000`.

Held-out scenes of the embedded model are drawn with 12 megapixels and encoded as JPEG, or with `--format PNG`. Each is
decoded in full and at the scale that captions use. Compares the captions, the model's input (peak signal to noise
ratio, in decibels) and the seconds. Drawing takes most of the time: three seconds a scene on each core.
"""

import argparse
import dataclasses
import io
import math
import os
import time
from concurrent.futures import ProcessPoolExecutor
from itertools import repeat
from multiprocessing import get_context
from typing import NamedTuple

import numpy as np
import torch

from flaskapp.captioner import Captioner, Configuration, GenerationSettings
from flaskapp.captioner.embedded import scenes
from flaskapp.images import EncodedImage
from tests.benchmarks.table import print_table

PIXELS = 12_000_000
QUALITY = 90
BATCH = 25  # scenes in memory at once
WHITE = 255  # 8 bits


class Comparison(NamedTuple):
    right: str
    full: str
    reduced: str
    decibels: float  # of the model's input
    seconds_full: float  # to decode and preprocess
    seconds_reduced: float


def draw(index: int, format: str = "JPEG") -> tuple[bytes, str]:
    """Return held-out scene `index` as a file of 12 megapixels, and its caption."""
    rng = np.random.default_rng((scenes.RANDOM_STREAMS["held-out"], index))
    small = scenes.imagine(rng)
    scale = math.sqrt(PIXELS / (small.width * small.height))
    scene = dataclasses.replace(
        small,
        width=round(small.width * scale),
        height=round(small.height * scale),
        things=tuple(
            dataclasses.replace(thing, x=thing.x * scale, y=thing.y * scale, extent=thing.extent * scale)
            for thing in small.things
        ),
    )
    buffer = io.BytesIO()
    scenes.paint(scene, rng).save(buffer, format, quality=QUALITY, compress_level=1)
    return buffer.getvalue(), scene.caption


def compare(captioner: Captioner, drawn: list[tuple[bytes, str]]) -> list[Comparison]:
    """Caption files in full and at the smaller scale. The captioner must be loaded."""
    loaded = captioner._loaded
    assert loaded is not None
    assert captioner.input_side is not None
    pixels: list[list[np.ndarray]] = []
    inputs: list[list[torch.Tensor]] = []
    seconds: list[list[float]] = []
    for side in (None, captioner.input_side):
        pixels.append([])
        inputs.append([])
        seconds.append([])
        for data, _ in drawn:
            start = time.perf_counter()
            pixels[-1].append(EncodedImage(data, 50).decode(side).flatten())
            inputs[-1].append(loaded.preprocess(pixels[-1][-1]))
            seconds[-1].append(time.perf_counter() - start)
    assert all(reduced.size < full.size / 4 for full, reduced in zip(*pixels, strict=True)), (
        "not decoded at a smaller scale"
    )
    captions = [captioner.caption(each, GenerationSettings(), deadline=math.inf) for each in pixels]
    return [
        Comparison(right, full[0], reduced[0], _decibels(*each), *times)
        for (_, right), full, reduced, each, times in zip(
            drawn, *captions, zip(*inputs, strict=True), zip(*seconds, strict=True), strict=True
        )
    ]


def _decibels(one: torch.Tensor, other: torch.Tensor) -> float:
    """Return the peak signal to noise ratio of two inputs, each from -1 to 1."""
    error = float(((one - other) * WHITE / 2).square().mean())
    return 10 * math.log10(WHITE**2 / error) if error else math.inf


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", type=int, default=1000)
    parser.add_argument("--format", choices=("JPEG", "PNG"), default="JPEG")
    options = parser.parse_args()
    captioner = Captioner()
    captioner.configure(Configuration(model="embedded"))
    captioner.load()
    found: list[Comparison] = []
    with ProcessPoolExecutor(os.cpu_count(), get_context("spawn")) as pool:
        for start in range(0, options.scenes, BATCH):
            numbers = range(start, min(start + BATCH, options.scenes))
            found += compare(captioner, list(pool.map(draw, numbers, repeat(options.format))))
    captioner.close()
    print_table(
        f"{options.scenes} scenes of 12 megapixels ({options.format}), in full and at a smaller scale",
        ["captions", "full", "reduced"],
        [
            [
                "right",
                str(sum(each.full == each.right for each in found)),
                str(sum(each.reduced == each.right for each in found)),
            ],
            [
                "decode and preprocess, median ms",
                f"{1000 * np.median([each.seconds_full for each in found]):.0f}",
                f"{1000 * np.median([each.seconds_reduced for each in found]):.0f}",
            ],
        ],
    )
    decibels = sorted(each.decibels for each in found)
    same = sum(each.full == each.reduced for each in found)
    print(f"\n{same} of {options.scenes} captions are the same.")
    print(f"Model's input: lowest {decibels[0]:.1f} dB, median {decibels[len(decibels) // 2]:.1f} dB")
    for each in found:
        if each.full != each.reduced:
            print(f"{each.decibels:.1f} dB\n  {each.right}\n  {each.full}\n  {each.reduced}")


if __name__ == "__main__":
    main()
