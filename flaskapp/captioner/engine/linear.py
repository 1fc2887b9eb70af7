"""Linear layers whose weights are packed once, for the processor that runs them.

The operators are oneDNN's, which PyTorch's compiler emits for frozen and quantised models on a CPU.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from flaskapp.captioner.engine.precision import CpuCapabilities

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
    fp32 = PackedLinear if torch.backends.mkldnn.is_available() else plain_linear  # type: ignore[no-untyped-call]
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

    The scale is per row so that the rest of the batch does not change a row's result. With x = scale * (q - ZERO) and
    integers q, the product is W x = scale * (W q - ZERO * W 1). Only W q is computed in int8.

    ZERO is the same for all rows. One per row, for ranges from the lowest to the highest input, is closer where all
    inputs have one sign, as after a ReLU, but takes two passes more.
    """

    # Without VNNI, pairs of products are summed in 16 bits, which inputs of 7 bits cannot overflow.
    ZERO = 128 if torch.cpu._is_vnni_supported() else 64
    # A float32 plus this number is rounded to an integer, whose lowest bits are those of the sum.
    ROUNDING = 1.5 * 2**23

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        super().__init__()
        self.weight_scales = weight.abs().amax(1).clamp(min=1e-12) / 127
        self.weight_zeros = torch.zeros(len(weight), dtype=torch.int64)
        quantized = (weight / self.weight_scales[:, None]).round().to(torch.int8).contiguous()
        self.packed = torch.ops.onednn.qlinear_prepack(quantized, None)
        self.shift = quantized.sum(1) * self.weight_scales * -self.ZERO
        self.bias = torch.zeros_like(self.shift) if bias is None else bias
        self.weight = weight.new_empty(0)  # some models read the dtype of a layer's weight

    def forward(self, x: Tensor) -> Tensor:
        levels, scale = self._quantize(x)
        product: Tensor = torch.ops.onednn.qlinear_pointwise(
            levels,
            1.0,
            0,
            self.packed,
            self.weight_scales,
            self.weight_zeros,
            self.shift,
            1.0,
            0,
            torch.float32,
            "none",
            [],
            "",
        )  # [..., out]
        return torch.addcmul(self.bias, product, scale, out=product)

    def _quantize(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """[..., in] -> uint8 [..., in] and scales [..., 1].

        Use passes that PyTorch vectorises. `aminmax`, the infinity norm and float to uint8 are not.
        """
        largest = torch.maximum(x.amax(-1, keepdim=True), x.amin(-1, keepdim=True).neg_())
        scale = largest.clamp_(min=1e-12).div_(self.ZERO - 1)
        rounded = x.mul(scale.reciprocal()).add_(self.ROUNDING + self.ZERO)
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
