"""Speed of the engine's precisions, and how close bf16 and int8 are to fp32."""

import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from flaskapp.captioner.engine.engine import Engine
from tests.benchmarks.captions.engines import PRECISIONS, caption, load_checkpoint, load_engine
from tests.benchmarks.table import print_table
from tests.photograph import photograph

SIZES = (1, 8, 16)  # images in a batch
IMAGES = 32  # images whose captions are compared
SIDE = 256  # pixels


class Closeness(NamedTuple):
    """How close captions are to the fp32 ones."""

    captions: float  # share of captions with equal tokens
    tokens: float  # share of positions with equal tokens
    log_probabilities: Tensor  # [images, tokens], differences for fp32's tokens


def run(folder: Path, rounds: int) -> None:
    """Print images a second for each batch size, and the differences in the captions of IMAGES images."""
    pixels = torch.stack([load_checkpoint(folder).inputs.preprocess(image) for image in photographs(IMAGES)])
    engines = {precision: load_engine(folder, precision) for precision in PRECISIONS}
    _print_rates(folder.name, engines, pixels, rounds)
    expected = caption(engines["fp32"], pixels)
    fp32 = log_probabilities(engines["fp32"], pixels, expected)
    compared = {name: compare(engines[name], pixels, expected, fp32) for name in PRECISIONS if name != "fp32"}
    print_table(
        f"{folder.name}: the captions of {len(pixels)} images, compared with those in fp32",
        ["precision", "same captions", "same tokens", "log-probability of a token: mean difference", "largest"],
        [
            [
                precision,
                f"{each.captions:.1%}",
                f"{each.tokens:.1%}",
                f"{float(each.log_probabilities.mean()):.4f}",
                f"{float(each.log_probabilities.max()):.4f}",
            ]
            for precision, each in compared.items()
        ],
    )


def photographs(number: int) -> list[np.ndarray]:
    """Return crops of a large photograph-like image, uint8 [SIDE, SIDE, 3]."""
    columns = 16
    whole = np.asarray(photograph(columns * SIDE, -(-number // columns) * SIDE))
    places = [(SIDE * (index // columns), SIDE * (index % columns)) for index in range(number)]
    return [whole[top : top + SIDE, left : left + SIDE] for top, left in places]


@torch.inference_mode()
def log_probabilities(engine: Engine, pixels: Tensor, captions: list[list[int]]) -> Tensor:
    """Return the log-probabilities of the tokens of equally long captions, without the first: [images, tokens]."""
    decoder, tokens = engine._decoder, torch.tensor(captions)
    assert decoder is not None
    cache = decoder.new_cache(engine._encode(pixels, lambda: None), 1, 1, tokens.shape[1])
    steps = [decoder(tokens[:, place], [cache]).float().log_softmax(1) for place in range(tokens.shape[1] - 1)]
    return torch.stack(steps, 1).gather(2, tokens[:, 1:, None]).squeeze(2)


def compare(engine: Engine, pixels: Tensor, expected: list[list[int]], fp32: Tensor) -> Closeness:
    """Compare captions and log-probabilities with fp32's."""
    captions = caption(engine, pixels)
    same = torch.tensor(captions) == torch.tensor(expected)
    difference = (log_probabilities(engine, pixels, expected) - fp32).abs()
    return Closeness(float(same.all(1).float().mean()), float(same[:, 1:].float().mean()), difference)


def _print_rates(name: str, engines: dict[str, Engine], pixels: Tensor, rounds: int) -> None:
    rates: dict[tuple[str, int], list[float]] = {}
    for _ in range(rounds):
        for size in SIZES:
            for precision, engine in engines.items():
                start = time.perf_counter()
                caption(engine, pixels[:size])
                rates.setdefault((precision, size), []).append(size / (time.perf_counter() - start))
    print_table(
        f"{name}: images a second, slowest to fastest of {rounds} rounds, {torch.get_num_threads()} threads",
        ["images", *engines, "bf16 / fp32", "int8 / fp32"],
        [
            [
                str(size),
                *(f"{min(rates[precision, size]):.2f} to {max(rates[precision, size]):.2f}" for precision in engines),
                *(f"{max(rates[precision, size]) / max(rates['fp32', size]):.2f}x" for precision in ("bf16", "int8")),
            ]
            for size in SIZES
        ],
    )
