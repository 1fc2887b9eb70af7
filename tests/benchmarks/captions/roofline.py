"""A batch's multiplications a second and weights read a second, as shares of the processor's best.

The best is measured in the same run: the product of the encoder's largest layer alone, and a memory copy.
"""

import math
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from flaskapp.captioner.engine.linear import makers
from tests.benchmarks.captions.checkpoints import FULL_SIZES
from tests.benchmarks.captions.engines import PRECISIONS, caption, load_engine
from tests.benchmarks.table import print_table

SIZES = (1, 8, 16)  # images in a batch
ROWS, WIDTH, WIDER = 3152, 768, 3072  # 16 images of 197 patches through the first layer of ViT-B's feed-forward network
COPIED = 2**29  # bytes


class Work(FlopCounterMode):
    """Counts the multiplications of a block, and the weights that oneDNN's linear layers read."""

    def __init__(self) -> None:
        super().__init__(
            display=False,
            custom_mapping={
                torch.ops.mkldnn._linear_pointwise: self._linear,
                torch.ops.onednn.qlinear_pointwise: self._linear,
                torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention,
            },
        )
        self.weights = 0

    @property
    def products(self) -> int:
        """Return multiplications; there are as many additions."""
        return int(self.get_total_flops()) // 2

    def _linear(self, x: Sequence[int], *_: Any, out_shape: Sequence[int], **__: Any) -> int:
        self.weights += x[-1] * out_shape[-1]
        return 2 * math.prod(out_shape) * x[-1]


def _attention(query: Sequence[int], keys: Sequence[int], *_: Any, **__: Any) -> int:
    """Count the products with keys and values, [images, heads, patches, head_dim] each."""
    return 4 * math.prod(query) * keys[2]


def run(folder: Path, rounds: int) -> None:
    side = FULL_SIZES[folder.name].image_side
    pixels = torch.randn(max(SIZES), 3, side, side)
    bandwidth = copied_bytes_per_second(rounds)
    rows = []
    for precision, size_of_weight in PRECISIONS.items():
        best = products_per_second(precision, rounds)
        engine = load_engine(folder, precision)
        for size in SIZES:
            with Work() as work:
                caption(engine, pixels[:size])
            seconds = shortest(partial(caption, engine, pixels[:size]), rounds)
            read = work.weights * size_of_weight
            rows.append(
                [
                    f"{precision}, {size}",
                    f"{work.products / size / 1e9:.1f}",
                    f"{size / seconds:.2f}",
                    f"{work.products / seconds / 1e9:.0f}",
                    f"{work.products / seconds / best:.0%} of {best / 1e9:.0f}",
                    f"{read / seconds / 1e9:.1f}",
                    f"{read / seconds / bandwidth:.0%} of {bandwidth / 1e9:.0f}",
                ]
            )
    print_table(
        f"{folder.name}: the engine in one process, {torch.get_num_threads()} threads",
        ["images", "GMAC an image", "images/s", "GMAC/s", "of a product alone", "weights, GB/s", "of a copy"],
        rows,
    )


def products_per_second(precision: str, rounds: int) -> float:
    """Return the best rate of a large product, including the precision's conversions."""
    layer = makers(precision, torch.device("cpu")).inner(torch.randn(WIDER, WIDTH), torch.zeros(WIDER))
    x = torch.randn(ROWS, WIDTH)
    with torch.inference_mode():
        return ROWS * WIDTH * WIDER / shortest(lambda: layer(x), 20 * rounds)


def copied_bytes_per_second(rounds: int) -> float:
    """Return bytes read and written a second."""
    source = torch.ones(COPIED, dtype=torch.uint8)
    target = torch.empty_like(source)
    return 2 * COPIED / shortest(lambda: target.copy_(source), 5 * rounds)


def shortest(run: Callable[[], Any], times: int) -> float:
    """Return the shortest run's seconds, after an uncounted warm-up."""
    run()
    seconds = []
    for _ in range(times):
        began = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - began)
    return min(seconds)
