"""The engine against `generate`, in one process, taking turns."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from flaskapp.captioner import GenerationSettings
from flaskapp.captioner.checkpoints.hub import Checkpoint
from flaskapp.captioner.checkpoints.load import LoadedCheckpoint, load
from flaskapp.captioner.engine.engine import Engine
from tests.benchmarks.captions.checkpoints import FULL_SIZES
from tests.benchmarks.table import print_table

SETTINGS = GenerationSettings(max_length=16, min_length=16, num_beams=8)
SIZES = (1, 4, 8, 16)
PRECISIONS = ("fp32", "bf16", "int8")


def run(folder: Path, rounds: int) -> None:
    """Print images a second for each batch size, and how many times those of the better `generate` that is."""
    side = FULL_SIZES[folder.name].image_side
    pixels = torch.randn(max(SIZES), 3, side, side)
    model = load_checkpoint(folder).model
    ways = {
        "generate": _generate(model),
        "static cache": _generate(model, cache_implementation="static", disable_compile=True),
        **{precision: _search(folder, precision) for precision in PRECISIONS},
    }
    rates: dict[str, dict[int, float]] = {name: {} for name in ways}
    same = dict.fromkeys(SIZES, True)
    for _ in range(rounds):
        for size in SIZES:
            tokens = {}
            for name, caption in ways.items():
                start = time.perf_counter()
                tokens[name] = caption(pixels[:size])
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


def load_checkpoint(folder: Path) -> LoadedCheckpoint:
    return load(Checkpoint(folder.name, folder), torch.float32)


def _generate(model: Any, **options: Any) -> Callable[[torch.Tensor], Any]:
    @torch.inference_mode()
    def caption(pixels: torch.Tensor) -> list[list[int]]:
        tokens: list[list[int]] = model.generate(pixels, **SETTINGS.given(), **options).tolist()
        return tokens

    return caption


def _search(folder: Path, precision: str) -> Callable[[torch.Tensor], Any]:
    engine = Engine(load_checkpoint(folder), precision, torch.device("cpu"))

    def caption(pixels: torch.Tensor) -> list[list[int]]:
        searches = engine.add(list(pixels), [engine.resolve(SETTINGS)] * len(pixels))
        while engine.running:
            engine.step()
        return [result.token_ids for search in searches for result in search.results]

    return caption
