"""A transformer decoder with cross-attention to encoded images, for every architecture that has a description.

Its results are those of transformers' decoder, with less work: see `kv_cache`.

References: Attention Is All You Need (Vaswani et al., 2017); transformers/models/{gpt2,bert,trocr,mbart}.
"""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import embedding

from flaskapp.captioner.engine.description import (
    CrossAttention,
    DecoderDescription,
    FeedForward,
    Layer,
    Projection,
    SelfAttention,
)
from flaskapp.captioner.engine.kv_cache import KeysValues, KVCache


class Decoder(nn.Module):
    """`cross_kv_dtype` is the dtype of the cross-attention cache."""

    position_table: Tensor

    def __init__(self, description: DecoderDescription, cross_kv_dtype: torch.dtype) -> None:
        super().__init__()
        self._description = description
        self._cross_kv_dtype = cross_kv_dtype
        table, token_type = description.positions.table, description.token_type
        self.register_buffer("position_table", table if token_type is None else table + token_type)
        self._layers = [
            _Layer(number, layer, description.norm_first) for number, layer in enumerate(description.layers)
        ]

    @property
    def positions(self) -> int:
        """Most tokens of a sequence, with the start token and the prompt."""
        return self._description.positions.length

    def new_cache(self, encoded: Tensor, beams: int, prompt_length: int, steps: int) -> KVCache:
        """Return a cache for encoded images, [images, patches, width].

        The first step takes the prompt (prefill). At most `steps` follow.
        """
        cross = [self._cross_keys_values(layer.cross_attention, encoded) for layer in self._description.layers]
        return KVCache(cross, beams, prompt_length, steps, encoded.dtype)

    def _cross_keys_values(self, attention: CrossAttention, encoded: Tensor) -> KeysValues:
        """[images, patches, encoder width] -> two of [images, heads, patches, head_dim]."""
        keys, values = (
            part.view(*part.shape[:2], self._description.heads, -1)
            .transpose(1, 2)
            .contiguous()
            .to(self._cross_kv_dtype)
            for part in attention.key_value(encoded).chunk(2, dim=2)
        )
        return keys, values

    def forward(self, tokens: Tensor, caches: Sequence[KVCache]) -> Tensor:
        """The tokens of a step, int64 [rows of all caches] -> logits of the next token of each sequence.

        The logits are [images * beams of all caches, vocabulary]: only the last token of a prompt has logits.
        """
        for cache in caches:
            cache.begin_step()
        x = self._embed(tokens, caches)
        for layer in self._layers:
            x = layer.run(x, caches)
        if self._description.final_norm is not None:
            x = self._description.final_norm(x)
        parts = _split(x, caches)
        return self._description.head(
            _join(cache.last_of_each_sequence(part) for cache, part in zip(caches, parts, strict=True))
        )

    def _embed(self, tokens: Tensor, caches: Sequence[KVCache]) -> Tensor:
        """int64 [rows] -> [rows, width]"""
        positions, norm = self._description.positions, self._description.embedding_norm
        places = tokens.new_tensor([place for cache in caches for place in cache.sequence_positions()])
        places += positions.offset
        if positions.padding is not None:
            places = torch.where(tokens == positions.padding, positions.padding, places)
        x = self._description.embed_tokens(tokens) + embedding(places, self.position_table)
        return x if norm is None else norm(x)


class _Layer:
    """Self-attention, cross-attention and a feed-forward network."""

    def __init__(self, number: int, layer: Layer, norm_first: bool) -> None:
        self._number, self._layer, self._norm_first = number, layer, norm_first

    def run(self, x: Tensor, caches: Sequence[KVCache]) -> Tensor:
        """[rows, width] -> [rows, width]"""
        layer = self._layer
        x = self._with_residual(layer.self_attention.norm, x, lambda y: self._attend(layer.self_attention, y, caches))
        x = self._with_residual(
            layer.cross_attention.norm, x, lambda y: self._cross_attend(layer.cross_attention, y, caches)
        )
        return self._with_residual(layer.feed_forward.norm, x, lambda y: self._feed_forward(layer.feed_forward, y))

    def _with_residual(self, norm: Projection, x: Tensor, part: Projection) -> Tensor:
        return x + part(norm(x)) if self._norm_first else norm(x + part(x))

    def _attend(self, attention: SelfAttention, x: Tensor, caches: Sequence[KVCache]) -> Tensor:
        parts = zip(caches, _split(attention.query_key_value(x), caches), strict=True)
        return attention.out(_join(cache.self_attention(self._number, part, attention.scale) for cache, part in parts))

    def _cross_attend(self, attention: CrossAttention, x: Tensor, caches: Sequence[KVCache]) -> Tensor:
        parts = zip(caches, _split(attention.query(x), caches), strict=True)
        return attention.out(_join(cache.cross_attention(self._number, part, attention.scale) for cache, part in parts))

    def _feed_forward(self, network: FeedForward, x: Tensor) -> Tensor:
        return network.narrow(network.widen(x))


def _split(x: Tensor, caches: Sequence[KVCache]) -> Sequence[Tensor]:
    """Return the rows of each cache."""
    parts: Sequence[Tensor] = torch.split(x, [cache.rows for cache in caches])
    return parts


def _join(parts: Iterable[Tensor]) -> Tensor:
    each = list(parts)
    return each[0] if len(each) == 1 else torch.cat(each)
