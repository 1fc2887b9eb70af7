"""The engine against `generate`, alternating in one process."""

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch

from tests.benchmarks.captions.checkpoints import FULL_SIZES
from tests.benchmarks.captions.engines import PRECISIONS, SETTINGS, caption, load_checkpoint, load_engine
from tests.benchmarks.table import print_table

SIZES = (1, 4, 8, 16)


def run(folder: Path, rounds: int) -> None:
    """Print images a second for each batch size, and the ratio to the better `generate`."""
    side = FULL_SIZES[folder.name].image_side
    pixels = torch.randn(max(SIZES), 3, side, side)
    model = load_checkpoint(folder).model
    ways = {
        "generate": _generate(model),
        "static cache": _generate(model, cache_implementation="static", disable_compile=True),
        **{precision: partial(caption, load_engine(folder, precision)) for precision in PRECISIONS},
    }
    rates: dict[str, dict[int, float]] = {name: {} for name in ways}
    same = dict.fromkeys(SIZES, True)
    for _ in range(rounds):
        for size in SIZES:
            tokens = {}
            for name, way in ways.items():
                start = time.perf_counter()
                tokens[name] = way(pixels[:size])
                rates[name][size] = max(rates[name].get(size, 0.0), size / (time.perf_counter() - start))
            same[size] &= tokens["fp32"] == tokens["generate"]
    best = {size: max(rates["generate"][size], rates["static cache"][size]) for size in SIZES}
    print_table(
        f"{folder.name}: images a second in one process, {torch.get_num_threads()} threads",
        ["images", *ways, *(f"{precision} / best generate" for precision in PRECISIONS), "fp32: same tokens"],
        [
            [
                str(size),
                *(f"{rates[name][size]:.2f}" for name in ways),
                *(f"{rates[name][size] / best[size]:.1f}x" for name in PRECISIONS),
                "yes" if same[size] else "NO",
            ]
            for size in SIZES
        ],
    )


def _generate(model: Any, **options: Any) -> Callable[[torch.Tensor], Any]:
    @torch.inference_mode()
    def generate(pixels: torch.Tensor) -> list[list[int]]:
        tokens: list[list[int]] = model.generate(pixels, **SETTINGS.given(), **options).tolist()
        return tokens

    return generate
