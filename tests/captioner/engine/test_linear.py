"""Linear layers in each of their forms, against `torch.nn.functional.linear`."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from flaskapp.captioner import Captioner, Configuration, GenerationSettings
from flaskapp.captioner.embedded.scenes import scene_at
from flaskapp.captioner.engine.linear import PackedLinear, QuantizedLinear, plain_linear

SCENES = 500


@pytest.mark.parametrize(
    ("make", "error"),
    [(plain_linear, 1e-6), (PackedLinear, 1e-6), (QuantizedLinear, 0.03)],
    ids=lambda each: getattr(each, "__name__", str(each)),
)
@pytest.mark.parametrize("has_bias", [True, False])
@pytest.mark.parametrize("shape", [(1, 64), (7, 64), (2, 5, 64), (300, 64)])
def test_the_product_is_right_to_its_precision(
    make: Callable[[Tensor, Tensor | None], nn.Module], error: float, has_bias: bool, shape: tuple[int, ...]
) -> None:
    torch.manual_seed(0)
    weight, bias = torch.randn(48, 64), torch.randn(48) if has_bias else None
    x = torch.randn(shape) + 3  # not around zero
    with torch.inference_mode():
        product = make(weight, bias)(x)
    expected = linear(x, weight, bias)
    assert product.shape == expected.shape
    assert (product - expected).norm() <= error * expected.norm()


def test_a_weight_that_lies_transposed_in_memory_as_gpt2_s_is_the_same_weight() -> None:
    torch.manual_seed(0)
    stored, x = torch.randn(64, 48), torch.randn(7, 64)
    for make in (PackedLinear, QuantizedLinear):
        product, expected = make(stored.T, None)(x), make(stored.T.contiguous(), None)(x)
        assert torch.equal(product, expected)


def test_no_row_of_int8_changes_another() -> None:
    torch.manual_seed(0)
    layer, x = QuantizedLinear(torch.randn(48, 64), torch.randn(48)), torch.randn(8, 64)
    alone = torch.cat([layer(row[None]) for row in x])
    wild = torch.cat([x, 1000 * torch.randn(4, 64)])
    assert torch.allclose(layer(wild)[:8], alone, atol=1e-4)


def test_a_row_without_any_range_is_no_division_by_zero() -> None:
    weight = torch.randn(48, 64)
    product = QuantizedLinear(weight, None)(torch.full((1, 64), 2.0))
    assert torch.allclose(product, 2 * weight.sum(1), atol=0.5)


@pytest.mark.slow
def test_int8_captions_99_of_100_held_out_scenes_as_fp32_does() -> None:
    pictures = [np.asarray(scene_at("held-out", index)[0]) for index in range(SCENES)]
    captions = {}
    for precision in ("fp32", "int8"):
        captioner = Captioner()
        captioner.configure(
            Configuration(model="embedded", precision=precision, max_batch=50, queue=SCENES, deadline=600)
        )
        captions[precision] = captioner.caption(pictures, GenerationSettings())
        captioner.close()
    same = sum(ours == theirs for ours, theirs in zip(*captions.values(), strict=True))
    assert same >= 0.99 * SCENES
