"""Activations after linear layers: fused by oneDNN where possible (fp32 and bf16 on a CPU), otherwise separate."""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu
from transformers.activations import FastGELUActivation, GELUActivation, GELUTanh, NewGELUActivation

IDENTITY = nn.Identity()
TANH_GELUS = (NewGELUActivation, FastGELUActivation, GELUTanh)


class PostOp(NamedTuple):
    """An activation that oneDNN applies to a product before storing it: arguments of `mkldnn::_linear_pointwise`."""

    name: str = "none"
    algorithm: str = ""


def post_op(activation: nn.Module) -> PostOp | None:
    """Return oneDNN's post-op for an activation, or None if it must run separately: oneDNN's ReLU hides NaN."""
    if activation is IDENTITY:
        return PostOp()
    if isinstance(activation, TANH_GELUS):
        return PostOp("gelu", "tanh")
    return PostOp("gelu", "none") if isinstance(activation, GELUActivation) else None


def fast_activation(activation: nn.Module) -> Callable[[Tensor], Tensor]:
    """Return a faster function for a tanh GELU, which takes eight operations in GPT-2. Other activations stay."""
    return tanh_gelu if isinstance(activation, TANH_GELUS) else activation


def tanh_gelu(x: Tensor) -> Tensor:
    """GELU by the tanh approximation, x (1 + tanh u) / 2, which is x sigmoid(2u).

    PyTorch's `gelu(approximate="tanh")` takes twice as long on a CPU, but not on a GPU.
    """
    if x.is_cuda:
        return gelu(x, approximate="tanh")
    slope = 2 * math.sqrt(2 / math.pi)
    return torch.square(x).mul_(0.044715 * slope).add_(slope).mul_(x).sigmoid_().mul_(x)
