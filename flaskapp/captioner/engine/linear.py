"""Linear layers whose weights are packed once, for the processor that runs them.

The operators are oneDNN's, which PyTorch's compiler emits for frozen and quantised models on a CPU. Their `default`
overload is named, so that PyTorch does not search for it at each call.
"""

from collections.abc import Callable
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from flaskapp.captioner.engine.activations import IDENTITY, PostOp, fast_activation, post_op
from flaskapp.captioner.engine.candidates import top_k
from flaskapp.captioner.engine.precision import CpuCapabilities, has_onednn, int8_sums_are_exact


class MakeLinear(Protocol):
    """Weight [out, in], bias [out] and activation -> a module: [..., in] -> [..., out].

    On a CPU, modules with bf16 weights return bf16, others fp32.
    """

    def __call__(self, weight: Tensor, bias: Tensor | None, activation: nn.Module = IDENTITY, /) -> nn.Module: ...


class LinearMakers(NamedTuple):
    """The layer types of a model: of its inner layers, and of its head, which computes the logits."""

    inner: MakeLinear
    head: Callable[[Tensor, Tensor | None], nn.Module]


def makers(precision: str, device: torch.device, capabilities: CpuCapabilities | None = None) -> LinearMakers:
    """Return int8, bf16 or packed fp32 layers for a CPU, and PyTorch's own layers for a GPU.

    `capabilities` are by default those of this machine. On a CPU without bf16 instructions, bf16 weights are multiplied
    in fp32. With them, the head is a `RescoredLinear`.
    """
    if precision == "int8":
        return LinearMakers(QuantizedLinear, QuantizedLinear)
    if device.type != "cpu":
        return LinearMakers(PlainLinear, PlainLinear)
    fp32: MakeLinear = PackedLinear if has_onednn() else PlainLinear
    if precision != "bf16":
        return LinearMakers(fp32, fp32)
    if (capabilities or CpuCapabilities.detect()).has_bf16:
        return LinearMakers(Bfloat16Linear, RescoredLinear)
    return LinearMakers(
        lambda weight, bias, activation=IDENTITY: fp32(weight.bfloat16().to(weight.dtype), bias, activation), fp32
    )


class PlainLinear(nn.Linear):
    """PyTorch's own layer, with an activation."""

    def __init__(self, weight: Tensor, bias: Tensor | None, activation: nn.Module = IDENTITY) -> None:
        super().__init__(weight.shape[1], weight.shape[0], bias is not None, device="meta")
        self.weight = nn.Parameter(weight.contiguous(), requires_grad=False)
        if bias is not None:
            self.bias = nn.Parameter(bias, requires_grad=False)
        self.activation = fast_activation(activation)

    def forward(self, x: Tensor) -> Tensor:
        return self.activation(super().forward(x))


class PackedLinear(nn.Module):
    """The weight in oneDNN's blocked layout: with few rows, twice as fast in fp32 as `nn.Linear`.

    oneDNN applies the activation to the product before storing it, if it can.
    """

    DTYPE = torch.float32  # of weights, inputs and outputs
    ROWS = 64  # rows for which oneDNN chooses the layout: a batch of beams

    def __init__(self, weight: Tensor, bias: Tensor | None, activation: nn.Module = IDENTITY) -> None:
        super().__init__()
        self.bias = bias
        self.packed = torch.ops.mkldnn._reorder_linear_weight(weight.to(self.DTYPE).contiguous(), self.ROWS)
        self.multiply = torch.ops.mkldnn._linear_pointwise.default
        fused = post_op(activation)
        self.fused, self.activation = (PostOp(), activation) if fused is None else (fused, IDENTITY)

    def forward(self, x: Tensor) -> Tensor:
        x = x.to(self.DTYPE)
        product: Tensor = self.multiply(x, self.packed, self.bias, self.fused.name, [], self.fused.algorithm)
        activated: Tensor = self.activation(product)
        return activated


class Bfloat16Linear(PackedLinear):
    """bf16 weights, inputs and outputs; fp32 sums and bias. Reads half the bytes of fp32."""

    DTYPE = torch.bfloat16


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

    def __init__(self, weight: Tensor, bias: Tensor | None, activation: nn.Module = IDENTITY) -> None:
        super().__init__()
        self.activation = fast_activation(activation)
        self.zero_point = 128 if int8_sums_are_exact() else 64  # 64: 7 bits, whose sums do not saturate
        self.weight_scales = weight.abs().amax(1).clamp(min=1e-12) / 127
        self.weight_zero_points = torch.zeros(len(weight), dtype=torch.int64)
        quantized = (weight / self.weight_scales[:, None]).round().to(torch.int8).contiguous()
        self.packed = torch.ops.onednn.qlinear_prepack(quantized, None)
        self.multiply = torch.ops.onednn.qlinear_pointwise.default
        self.compensation = quantized.sum(1) * self.weight_scales * -self.zero_point
        self.bias = torch.zeros_like(self.compensation) if bias is None else bias

    def forward(self, x: Tensor) -> Tensor:
        quantized, scale = self._quantize(x.float())
        product: Tensor = self.multiply(
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
        return self.activation(torch.addcmul(self.bias, product, scale, out=product))

    def _quantize(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """fp32 [..., in] -> uint8 [..., in] and scales [..., 1].

        PyTorch does not vectorise `aminmax`, the infinity norm or float to uint8.
        """
        largest = torch.maximum(x.amax(-1, keepdim=True), x.amin(-1, keepdim=True).neg_())
        scale = largest.clamp_(min=1e-12).div_(self.zero_point - 1)
        rounded = x.mul(scale.reciprocal()).add_(self.ROUNDING_OFFSET + self.zero_point)
        return rounded.view(torch.int32).to(torch.uint8), scale


class RescoredLinear(QuantizedLinear):
    """A head in int8, with the largest logits of each row computed again in fp32.

    bf16 has too few digits for logits: they are large numbers, and searches compare their differences. In fp32, the
    head would take as long as all other products of a step in bf16. The fp32 weight is kept: usually it is that of the
    token embeddings.
    """

    RESCORED = 16  # logits of a row: the candidates of 8 beams with one end token

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        super().__init__(weight, bias)
        self.fp32_weight = weight

    def forward(self, x: Tensor) -> Tensor:
        rows = x.float().reshape(-1, x.shape[-1])
        logits = super().forward(rows)  # [rows, out]
        _, best = top_k(logits, min(self.RESCORED, logits.shape[1]))
        # Row by row: the weights for all rows would not fit into a core's cache, and take a third more time.
        exact = torch.stack([self.fp32_weight[each] @ row for each, row in zip(best, rows, strict=True)])
        return logits.scatter_(1, best, exact + self.bias[best]).view(*x.shape[:-1], -1)


class KeepInputDtype(nn.Module):
    """Returns a layer's outputs in the dtype of its inputs, for the code of transformers' models."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer
        self.weight = torch.empty(0)  # some models read the dtype of a layer's weight

    def forward(self, x: Tensor) -> Tensor:
        outputs: Tensor = self.layer(x)
        return outputs.to(x.dtype)


def for_transformers(layer: nn.Module) -> nn.Module:
    """Return a layer that transformers' code can call instead of its own."""
    return layer if isinstance(layer, nn.Linear) else KeepInputDtype(layer)


def repack(module: nn.Module, makers: LinearMakers, head: nn.Module | None) -> None:
    """Replace every linear layer inside a module, which frees the old weights."""
    for name, child in module.named_children():
        if type(child) is nn.Linear or isinstance(child, Conv1D):
            make = makers.head if child is head else makers.inner
            setattr(module, name, for_transformers(make(*weight_and_bias(child))))
        else:
            repack(child, makers, head)


def weight_and_bias(layer: nn.Module) -> tuple[Tensor, Tensor | None]:
    """Return weight [out, in] and bias [out]. Conv1D is GPT-2's linear layer, with its weight stored as [in, out]."""
    weight = layer.weight.detach()  # type: ignore[operator]
    bias = None if layer.bias is None else layer.bias.detach()  # type: ignore[operator]
    return (weight.T if isinstance(layer, Conv1D) else weight), bias
