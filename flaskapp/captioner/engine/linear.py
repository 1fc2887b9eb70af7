"""Linear layers whose weights are laid out once, for the processor that will run them.

The operators are those that PyTorch's own compiler emits for frozen and for quantised models on a CPU (oneDNN's).
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

MakeLinear = Callable[[Tensor, Tensor | None], nn.Module]
"""Weight [out, in] and bias [out] -> a module that maps [..., in] to [..., out]."""


def maker(precision: str, device: torch.device) -> MakeLinear:
    """What linear layers are made with: int8 or packed fp32 on a CPU, PyTorch's own elsewhere."""
    if precision == "int8":
        return QuantizedLinear
    if device.type == "cpu" and precision == "fp32" and torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return PackedLinear
    return plain_linear


def plain_linear(weight: Tensor, bias: Tensor | None) -> nn.Module:
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias is not None, device="meta")
    layer.weight = nn.Parameter(weight.contiguous(), requires_grad=False)
    if bias is not None:
        layer.bias = nn.Parameter(bias, requires_grad=False)
    return layer


class PackedLinear(nn.Module):
    """fp32, the weight in the blocks that oneDNN multiplies in. With few rows, twice as fast as `nn.Linear`."""

    ROWS = 64  # the number of rows that the blocks are chosen for: a batch of beams

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        super().__init__()
        self.bias = bias
        self.packed = torch.ops.mkldnn._reorder_linear_weight(weight.contiguous(), self.ROWS)

    def forward(self, x: Tensor) -> Tensor:
        product: Tensor = torch.ops.mkldnn._linear_pointwise(x, self.packed, self.bias, "none", [], "")
        return product


class QuantizedLinear(nn.Module):
    """int8 weights with one scale for each output; inputs become uint8 with a range for each row, as they come.

    A row's range is its own, so that nothing else in the batch changes its result. With x = low + scale * q and whole
    numbers q, the product is W x = scale * (W q) + low * (W 1); W q is what runs in int8.
    """

    # Without VNNI instructions, pairs of products are summed in 16 bits: 7 bits of input keep them from overflowing.
    LEVELS = 255 if torch.cpu._is_vnni_supported() else 127

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        super().__init__()
        self.weight_scales = weight.abs().amax(1).clamp(min=1e-12) / 127
        self.zero_points = torch.zeros(len(weight), dtype=torch.int64)
        quantized = (weight / self.weight_scales[:, None]).round().to(torch.int8).contiguous()
        self.packed = torch.ops.onednn.qlinear_prepack(quantized, None)
        self.sums = quantized.sum(1) * self.weight_scales  # W 1
        self.bias = torch.zeros_like(self.sums) if bias is None else bias
        self.weight = weight.new_empty(0)  # some models ask a layer for the dtype of its weight

    def forward(self, x: Tensor) -> Tensor:
        """Several plain passes: `aminmax`, `addcmul` of two columns and float to uint8 have no vector instructions."""
        low, high = x.amin(-1, keepdim=True), x.amax(-1, keepdim=True)  # [..., 1]
        scale = (high - low).clamp_(min=1e-12).div_(self.LEVELS)
        start = low.sub(scale, alpha=0.5)  # half a level lower: what is cut off to a whole number is rounded
        levels = x.sub(start).mul_(scale.reciprocal()).to(torch.int32).to(torch.uint8)
        product: Tensor = torch.ops.onednn.qlinear_pointwise(
            levels,
            1.0,
            0,
            self.packed,
            self.weight_scales,
            self.zero_points,
            None,
            1.0,
            0,
            torch.float32,
            "none",
            [],
            "",
        )  # [..., out]
        return torch.addcmul(self.bias, product, scale, out=product).addcmul_(low, self.sums)


def repack(module: nn.Module, make_linear: MakeLinear) -> None:
    """Replace every linear layer inside a module, and give the weights that it had free."""
    for name, child in module.named_children():
        if type(child) is nn.Linear:
            bias = None if child.bias is None else child.bias.detach()
            setattr(module, name, make_linear(child.weight.detach(), bias))
        elif isinstance(child, Conv1D):  # GPT-2's name for a linear layer with its weight stored as [in, out]
            setattr(module, name, make_linear(child.weight.detach().T, child.bias.detach()))
        else:
            repack(child, make_linear)
