"""Linear layers in each precision against `torch.nn.functional.linear`."""

import os
import subprocess
import sys

import pytest
import torch
from torch import nn
from torch.nn.functional import linear
from transformers.activations import ACT2FN

from flaskapp.captioner.engine import linear as linear_module
from flaskapp.captioner.engine.linear import (
    Bfloat16Linear,
    KeepInputDtype,
    MakeLinear,
    PackedLinear,
    PlainLinear,
    QuantizedLinear,
    RescoredLinear,
    makers,
    repack,
)
from flaskapp.captioner.engine.precision import CpuCapabilities

needs_bf16 = pytest.mark.skipif(not CpuCapabilities.detect().has_bf16, reason="oneDNN has no bf16 products on this CPU")


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (PlainLinear, 1e-6),
        (PackedLinear, 1e-6),
        pytest.param(Bfloat16Linear, 0.004, marks=needs_bf16),
        (QuantizedLinear, 0.03),
        (RescoredLinear, 0.03),
    ],
    ids=lambda each: getattr(each, "__name__", str(each)),
)
@pytest.mark.parametrize("has_bias", [True, False])
@pytest.mark.parametrize("shape", [(1, 64), (7, 64), (2, 5, 64), (300, 64)])
def test_the_product_is_right_to_its_precision(
    make: MakeLinear, error: float, has_bias: bool, shape: tuple[int, ...]
) -> None:
    torch.manual_seed(0)
    weight, bias = torch.randn(48, 64), torch.randn(48) if has_bias else None
    x = torch.randn(shape) + 3  # not centred on zero
    with torch.inference_mode():
        product = make(weight, bias)(x)
    expected = linear(x, weight, bias)
    assert product.shape == expected.shape
    assert (product - expected).norm() <= error * expected.norm()


@pytest.mark.parametrize("make", [PackedLinear, pytest.param(Bfloat16Linear, marks=needs_bf16), QuantizedLinear])
def test_a_weight_stored_transposed_as_in_gpt2_gives_the_same_product(make: MakeLinear) -> None:
    torch.manual_seed(0)
    stored, x = torch.randn(64, 48), torch.randn(7, 64)
    assert torch.equal(make(stored.T, None)(x), make(stored.T.contiguous(), None)(x))


def test_int8_rows_are_quantised_independently() -> None:
    torch.manual_seed(0)
    layer, x = QuantizedLinear(torch.randn(48, 64), torch.randn(48)), torch.randn(8, 64)
    alone = torch.cat([layer(row[None]) for row in x])
    wild = torch.cat([x, 1000 * torch.randn(4, 64)])
    assert torch.allclose(layer(wild)[:8], alone, atol=1e-4)


@pytest.mark.parametrize("sums_are_exact", [True, False])
def test_inputs_are_quantised_to_the_nearest_integer(sums_are_exact: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linear_module, "int8_sums_are_exact", lambda: sums_are_exact)
    torch.manual_seed(0)
    x = torch.cat([torch.rand(500, 64), torch.randn(500, 64), torch.eye(64), -torch.eye(64), torch.zeros(1, 64)])
    layer = QuantizedLinear(torch.randn(48, 64), None)
    quantised, scale = layer._quantize(x)
    assert int(quantised.amax()) <= (255 if sums_are_exact else 127)
    error = scale * (quantised.float() - layer.zero_point) - x
    assert (error.abs() <= 0.5 * scale + 1e-6 * x.abs()).all()


SUM = """
import flaskapp.captioner, torch
from flaskapp.captioner.engine.linear import QuantizedLinear
print(float(QuantizedLinear(torch.ones(48, 768), None)(torch.ones(1, 768))[0, 0]))
"""


@pytest.mark.parametrize("instructions", ["AVX2", "AVX512_CORE", "AVX512_CORE_VNNI", "DEFAULT"])
def test_int8_sums_do_not_saturate_with_any_instructions(instructions: str) -> None:
    """A CPU without VNNI sums pairs of products in 16 bits. ONEDNN_MAX_CPU_ISA makes oneDNN do so on any CPU."""
    run = subprocess.run(
        [sys.executable, "-c", SUM],
        env={**os.environ, "ONEDNN_MAX_CPU_ISA": instructions},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert float(run.stdout) == pytest.approx(768, rel=0.01)


@pytest.mark.parametrize("make", [QuantizedLinear, RescoredLinear])
def test_int8_propagates_nan_and_infinity(make: MakeLinear) -> None:
    """The engine rejects logits that are not finite. A finite result would hide the fault."""
    layer, x = make(torch.randn(48, 64), None), torch.randn(3, 64)
    x[0, 5], x[1, 5] = torch.nan, torch.inf
    product = layer(x)
    assert not product[:2].isfinite().any()
    assert product[2].isfinite().all()


def test_int8_takes_inputs_of_other_dtypes() -> None:
    layer, x = QuantizedLinear(torch.randn(48, 64), None), torch.randn(3, 64).bfloat16()
    product = layer(x)
    assert product.dtype == torch.float32
    assert torch.equal(product, layer(x.float()))


def test_a_constant_row_is_quantised_without_division_by_zero() -> None:
    weight = torch.randn(48, 64)
    product = QuantizedLinear(weight, None)(torch.full((1, 64), 2.0))
    assert torch.allclose(product, 2 * weight.sum(1), atol=0.5)


@needs_bf16
def test_bf16_accumulates_in_fp32() -> None:
    """In bf16 a sum of ones would stop at 256, because the next number is 258."""
    product = Bfloat16Linear(torch.ones(48, 4096), None)(torch.ones(1, 4096))
    assert product.dtype == torch.bfloat16
    assert torch.equal(product.float(), torch.full((1, 48), 4096.0))


@pytest.mark.parametrize("name", ["gelu", "gelu_new", "gelu_fast", "gelu_pytorch_tanh", "relu", "quick_gelu", "silu"])
@pytest.mark.parametrize(
    ("make", "error"),
    [
        (PlainLinear, 1e-6),
        (PackedLinear, 1e-6),
        pytest.param(Bfloat16Linear, 0.005, marks=needs_bf16),
        (QuantizedLinear, 0.03),
    ],
    ids=lambda each: getattr(each, "__name__", str(each)),
)
def test_a_layer_applies_its_activation_to_the_product(make: MakeLinear, error: float, name: str) -> None:
    torch.manual_seed(0)
    weight, bias, x, activation = torch.randn(48, 64) / 8, torch.randn(48), torch.randn(7, 64), ACT2FN[name]
    expected = activation(linear(x, weight, bias))
    with torch.inference_mode():
        seen = make(weight, bias, activation)(x).float()
    assert (seen - expected).norm() <= error * expected.norm()


@pytest.mark.parametrize("name", ["gelu", "gelu_new", "relu", "silu"])
@pytest.mark.parametrize("make", [PackedLinear, pytest.param(Bfloat16Linear, marks=needs_bf16), QuantizedLinear])
def test_activations_propagate_nan(make: MakeLinear, name: str) -> None:
    layer = make(torch.randn(48, 64), None, ACT2FN[name])
    assert layer(torch.full((1, 64), torch.nan)).isnan().all()


@pytest.mark.parametrize("has_bias", [True, False])
def test_the_largest_logits_of_an_int8_head_are_computed_in_fp32(has_bias: bool) -> None:
    torch.manual_seed(0)
    weight, bias, x = torch.randn(1000, 64), torch.randn(1000) if has_bias else None, torch.randn(2, 5, 64)
    expected = linear(x, weight, bias)
    logits = RescoredLinear(weight, bias)(x)
    values, places = logits.topk(RescoredLinear.RESCORED // 2)
    assert torch.equal(places, expected.topk(RescoredLinear.RESCORED // 2).indices)
    assert torch.allclose(values, expected.gather(2, places), atol=1e-4)


def test_without_bf16_instructions_the_logits_of_bf16_are_computed_in_fp32() -> None:
    torch.manual_seed(0)
    layers = makers("bf16", torch.device("cpu"), CpuCapabilities())
    weight, x = torch.randn(48, 64), torch.randn(7, 64)
    assert torch.allclose(layers.head(weight, None)(x), linear(x, weight), atol=1e-5)


def test_without_bf16_instructions_bf16_weights_are_multiplied_in_fp32() -> None:
    torch.manual_seed(0)
    weight, bias, x = torch.randn(48, 64), torch.randn(48), torch.randn(7, 64)
    layer = makers("bf16", torch.device("cpu"), CpuCapabilities(avx512=True)).inner(weight, bias)
    assert torch.allclose(layer(x), linear(x, weight.bfloat16().float(), bias), atol=1e-5)


@needs_bf16
def test_all_layers_of_a_transformers_model_are_replaced_and_its_head_by_another_kind() -> None:
    layers = makers("bf16", torch.device("cpu"), CpuCapabilities(avx512_bf16=True))
    model = nn.Sequential(nn.Linear(8, 8), nn.Sequential(nn.Linear(8, 8)), nn.Linear(8, 20))
    repack(model, layers, model[2])
    wrapped = (model[0], model[1][0], model[2])
    assert all(isinstance(layer, KeepInputDtype) for layer in wrapped)
    assert [type(layer.layer) for layer in wrapped] == [Bfloat16Linear, Bfloat16Linear, RescoredLinear]
    assert model(torch.randn(3, 8)).dtype == torch.float32
