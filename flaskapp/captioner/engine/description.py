"""Descriptions of decoders: the parts in which architectures differ, as data for the one shared `Decoder`.

The parts are modules of the transformers model. `generate` still works, on the same weights.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from flaskapp.captioner.engine.activations import IDENTITY
from flaskapp.captioner.engine.linear import LinearMakers, for_transformers, weight_and_bias

Projection = Callable[[Tensor], Tensor]


class NotDescribed(Exception):
    """The fast decoder does not support this model. The message says why."""


@dataclass(frozen=True)
class SelfAttention:
    query_key_value: Projection  # [rows, width] -> [rows, 3 * width]
    out: Projection
    norm: Projection
    scale: float


@dataclass(frozen=True)
class CrossAttention:
    query: Projection
    key_value: Projection  # [images, patches, encoder width] -> [images, patches, 2 * width]
    out: Projection
    norm: Projection
    scale: float


@dataclass(frozen=True)
class FeedForward:
    widen: Projection  # with the activation
    narrow: Projection
    norm: Projection


@dataclass(frozen=True)
class Layer:
    self_attention: SelfAttention
    cross_attention: CrossAttention
    feed_forward: FeedForward


@dataclass(frozen=True)
class Positions:
    """Position embeddings. A sequence's first token has row `offset`; padding tokens have row `padding`, their id."""

    table: Tensor  # [rows, width]
    offset: int = 0
    padding: int | None = None

    @property
    def length(self) -> int:
        """Most tokens of a sequence."""
        return len(self.table) - self.offset


@dataclass(frozen=True, kw_only=True)
class DecoderDescription:
    heads: int
    embed_tokens: Projection  # int64 [rows] -> [rows, width], scaled
    positions: Positions
    token_type: Tensor | None = None  # [width], added to every token's embedding
    embedding_norm: Projection | None = None
    layers: Sequence[Layer]
    norm_first: bool  # pre-norm: a norm comes before attention or feed-forward network, not after the residual
    final_norm: Projection | None = None
    head: Projection  # [rows, width] -> [rows, vocabulary]


class Packer:
    """Replaces a model's linear layers by packed ones with the same weights, and returns the packed ones."""

    def __init__(self, makers: LinearMakers) -> None:
        self._makers = makers

    def one(self, parent: nn.Module, name: str, activation: str | None = None) -> nn.Module:
        """Replace `parent.name`, a Linear or GPT-2's Conv1D, and the activation `parent.activation` after it."""
        weight, bias = weight_and_bias(getattr(parent, name))
        if activation is None:
            return _set(parent, name, self._makers.inner(weight, bias))
        packed = self._makers.inner(weight, bias, getattr(parent, activation))
        setattr(parent, activation, IDENTITY)
        return _set(parent, name, packed)

    def head(self, parent: nn.Module, name: str) -> nn.Module:
        """Replace `parent.name`, the layer that computes the logits."""
        return _set(parent, name, self._makers.head(*weight_and_bias(getattr(parent, name))))

    def joined(self, parent: nn.Module, *names: str) -> nn.Module:
        """Join layers with the same input into one. The parent's layers become slices of its output."""
        parts = [weight_and_bias(getattr(parent, name)) for name in names]
        weight = torch.cat([weight for weight, _ in parts])
        bias = None
        if any(bias is not None for _, bias in parts):
            bias = torch.cat([weight.new_zeros(len(weight)) if bias is None else bias for weight, bias in parts])
        packed = self._makers.inner(weight, bias)
        start = 0
        for name, (part, _) in zip(names, parts, strict=True):
            setattr(parent, name, OutputSlice(for_transformers(packed), start, start + len(part)))
            start += len(part)
        return packed


class OutputSlice(nn.Module):
    """Replaces a layer that was joined with others: a slice of the joined layer's outputs."""

    def __init__(self, joined: nn.Module, start: int, stop: int) -> None:
        super().__init__()
        self.joined, self.start, self.stop = joined, start, stop

    def forward(self, x: Tensor) -> Tensor:
        outputs: Tensor = self.joined(x)
        return outputs[..., self.start : self.stop]


def _set(parent: nn.Module, name: str, packed: nn.Module) -> nn.Module:
    setattr(parent, name, for_transformers(packed))
    return packed
