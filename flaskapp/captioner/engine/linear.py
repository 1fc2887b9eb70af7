"""Linear layers whose weights are packed once, for the processor that runs them.

The operators are oneDNN's, which PyTorch's compiler emits for frozen and quantised models on a CPU.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from flaskapp.captioner.engine.precision import CpuCapabilities, has_onednn, int8_sums_are_exact

MakeLinear = Callable[[Tensor, Tensor | None], nn.Module]
"""Weight [out, in] and bias [out] -> a module: [..., in] -> [..., out]."""


class LinearMakers(NamedTuple):
    """The layer types of a model: of its inner layers, and of its head, which computes the logits."""

    inner: MakeLinear
    head: MakeLinear


def makers(precision: str, device: torch.device, capabilities: CpuCapabilities | None = None) -> LinearMakers:
    """Return int8, bf16 or packed fp32 layers for a CPU, and PyTorch's own layers for a GPU.

    `capabilities` are by default those of this machine. On a CPU without bf16 instructions, bf16 weights are multiplied
    in fp32.
    """
    if precision == "int8":
        return LinearMakers(QuantizedLinear, QuantizedLinear)
    if device.type != "cpu":
        return LinearMakers(plain_linear, plain_linear)
    fp32 = PackedLinear if has_onednn() else plain_linear
    if precision != "bf16":
        return LinearMakers(fp32, fp32)
    if (capabilities or CpuCapabilities.detect()).has_bf16:
        return LinearMakers(Bfloat16Linear, fp32)
    return LinearMakers(lambda weight, bias: fp32(weight.bfloat16().to(weight.dtype), bias), fp32)


def plain_linear(weight: Tensor, bias: Tensor | None) -> nn.Module:
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias is not None, device="meta")
    layer.weight = nn.Parameter(weight.contiguous(), requires_grad=False)
    if bias is not None:
        layer.bias = nn.Parameter(bias, requires_grad=False)
    return layer


class PackedLinear(nn.Module):
    """fp32, with the weight in oneDNN's blocked layout. With few rows, twice as fast as `nn.Linear`."""

    ROWS = 64  # rows for which oneDNN chooses the layout: a batch of beams

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        super().__init__()
        self.bias = bias
        self.packed = torch.ops.mkldnn._reorder_linear_weight(weight.contiguous(), self.ROWS)

    def forward(self, x: Tensor) -> Tensor:
        product: Tensor = torch.ops.mkldnn._linear_pointwise(x, self.packed, self.bias, "none", [], "")
        return product


class Bfloat16Linear(nn.Module):
    """bf16 weights and inputs, fp32 sums and bias. The product is rounded to bf16, and returned in the input's dtype.

    Reads half the bytes of fp32. On one core of Zen 4 (AVX512_BF16) it takes half the time of `PackedLinear`, with 8,
    64 and 197 rows.
    """

    ROWS = PackedLinear.ROWS

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        super().__init__()
        self.bias = bias
        self.packed = torch.ops.mkldnn._reorder_linear_weight(weight.bfloat16().contiguous(), self.ROWS)
        self.weight = weight.new_empty(0)  # some models read the dtype of a layer's weight

    def forward(self, x: Tensor) -> Tensor:
        product: Tensor = torch.ops.mkldnn._linear_pointwise(x.bfloat16(), self.packed, self.bias, "none", [], "")
        return product.to(x.dtype)


class QuantizedLinear(nn.Module):
    """int8 weights with one scale per output. Each call quantises its inputs to uint8, with one scale per row.

    The scale is per row so that the rest of the batch does not change a row's result. With x = scale * (q - zero_point)
    and integers q, the product is W x = scale * (W q - zero_point * W 1). Only W q is computed in int8.

    The zero point is the same for all rows. One per row, for the range from the lowest to the highest input, would need
    more passes. It would halve the rounding error of inputs of one sign, such as those after a ReLU or GELU, and change
    that of others by a twentieth.
    """

    # Adding this number to a float32 whose magnitude is below 2**22 rounds it to an integer, which is then in the low
    # bits of the mantissa.
    ROUNDING_OFFSET = 1.5 * 2**23

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        super().__init__()
        self.zero_point = 128 if int8_sums_are_exact() else 64  # 64: 7 bits, whose sums do not saturate
        self.weight_scales = weight.abs().amax(1).clamp(min=1e-12) / 127
        self.weight_zero_points = torch.zeros(len(weight), dtype=torch.int64)
        quantized = (weight / self.weight_scales[:, None]).round().to(torch.int8).contiguous()
        self.packed = torch.ops.onednn.qlinear_prepack(quantized, None)
        self.compensation = quantized.sum(1) * self.weight_scales * -self.zero_point
        self.bias = torch.zeros_like(self.compensation) if bias is None else bias
        self.weight = weight.new_empty(0)  # some models read the dtype of a layer's weight

    def forward(self, x: Tensor) -> Tensor:
        quantized, scale = self._quantize(x.float())
        product: Tensor = torch.ops.onednn.qlinear_pointwise(
            quantized,
            1.0,
            0,
            self.packed,
            self.weight_scales,
            self.weight_zero_points,
            self.compensation,
            1.0,
            0,
            torch.float32,
            "none",
            [],
            "",
        )  # [..., out]
        return torch.addcmul(self.bias, product, scale, out=product).to(x.dtype)

    def _quantize(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """fp32 [..., in] -> uint8 [..., in] and scales [..., 1].

        PyTorch does not vectorise `aminmax`, the infinity norm or float to uint8.
        """
        largest = torch.maximum(x.amax(-1, keepdim=True), x.amin(-1, keepdim=True).neg_())
        scale = largest.clamp_(min=1e-12).div_(self.zero_point - 1)
        rounded = x.mul(scale.reciprocal()).add_(self.ROUNDING_OFFSET + self.zero_point)
        return rounded.view(torch.int32).to(torch.uint8), scale


def repack(module: nn.Module, makers: LinearMakers, head: nn.Module | None) -> None:
    """Replace every linear layer inside a module, which frees the old weights."""
    for name, child in module.named_children():
        make = makers.head if child is head else makers.inner
        if type(child) is nn.Linear:
            bias = None if child.bias is None else child.bias.detach()
            setattr(module, name, make(child.weight.detach(), bias))
        elif isinstance(child, Conv1D):  # GPT-2's linear layer, whose weight is stored as [in, out]
            setattr(module, name, make(child.weight.detach().T, child.bias.detach()))
        else:
            repack(child, makers, head)
