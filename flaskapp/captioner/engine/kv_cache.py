"""The KV cache of a decoder: cross-attention keys and values of the images, self-attention ones of the tokens so far.

All beams of an image share the image's cross-attention keys and values, which are computed once. Reordering beams moves
no keys or values: they stay in place, and a mask selects the positions of each beam's ancestors.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from flaskapp.captioner.engine.precision import has_amx

KeysValues = tuple[Tensor, Tensor]

MOST_INITIAL_STEPS = 32  # decode steps that fit into the first allocation, at most
MANY_QUERIES = 32  # more than the beams of a step, fewer than the patches of an image
COMPACT_FROM = 128  # positions in use below which the cache is not compacted


class KVCache:
    """Keys and values of images that are decoded together, starting with a prompt of `prompt_length` tokens.

    The first step takes the whole prompt (prefill), each later step one token for every beam. Until the first
    `reorder`, an image has one beam. The positions of a beam's tokens are masked for all other beams. Compaction
    removes dead positions, which no beam attends to: the cost of a step grows with the captions' length only.

    `steps` is the most decode steps that may follow the prefill. Memory for more than a few is allocated when needed.

    `cross` has each layer's cross-attention keys and values, [images, heads, patches, head_dim]. Every step reads all
    of them, so their dtype may be smaller than the tokens'.
    """

    def __init__(self, cross: list[KeysValues], beams: int, prompt_length: int, steps: int, dtype: torch.dtype) -> None:
        keys, _ = cross[0]
        self.images, self._heads, _, self._head_dim = keys.shape
        self.beams = 1
        self.length = 0  # tokens of each sequence in the cache
        self._prompt_length = prompt_length
        self._queries = 0  # tokens of each image in this step
        self._new = slice(0, 0)  # positions of this step's tokens in the cache
        self._cross = cross
        capacity = prompt_length + beams * min(steps, MOST_INITIAL_STEPS)
        shape = self.images, self._heads, capacity, self._head_dim
        self._self = [(keys.new_empty(shape, dtype=dtype), keys.new_empty(shape, dtype=dtype)) for _ in cross]
        self._mask = keys.new_full((self.images, 1, capacity), -torch.inf, dtype=dtype)  # 0 where a beam may attend
        self._step_mask = self._mask  # mask of this step, [images, 1, queries, positions]
        self._compacted = prompt_length  # positions in use after the last compaction

    @property
    def rows(self) -> int:
        """Tokens of all images in this step."""
        return self.images * self._queries

    @property
    def is_prefill(self) -> bool:
        """Whether this step takes the prompt."""
        return self.length == self._prompt_length

    def begin_step(self) -> None:
        """Allocate positions for the tokens of a step: the prompt's, or one for each beam."""
        is_first = self.length == 0
        self._queries = self._prompt_length if is_first else self.beams
        used = self._new.stop
        if used >= max(COMPACT_FROM, 2 * self._compacted):
            used = self._compact(used)
        self._new = slice(used, used + self._queries)
        self._grow(self._new.stop)
        if is_first:
            self._mask[:, :, self._new] = 0
            causal = self._mask.new_full((self._queries, self._queries), -torch.inf).triu(1)
            self._step_mask = causal.expand(self.images, 1, -1, -1)
        else:
            self._mask[:, range(self.beams), range(self._new.start, self._new.stop)] = 0
            self._step_mask = self._mask[: self.images, None, :, : self._new.stop]
        self.length += self._prompt_length if is_first else 1

    def sequence_positions(self) -> list[int]:
        """Return the position of each token of this step in its sequence, [rows]."""
        if self.is_prefill:
            return list(range(self._prompt_length)) * self.images
        return [self.length - 1] * self.rows

    def last_of_each_sequence(self, x: Tensor) -> Tensor:
        """[rows, width] -> [images * beams, width]"""
        return x.view(self.images, -1, x.shape[1])[:, -1] if self.is_prefill else x

    def self_attention(self, layer: int, query_key_value: Tensor, scale: float) -> Tensor:
        """Store the new tokens' keys and values, and attend to each token's ancestors.

        [rows, 3 * width] -> [rows, width]
        """
        keys, values = self._self[layer]
        query, key, value = query_key_value.to(keys.dtype).chunk(3, dim=1)
        keys[: self.images, :, self._new] = self._by_head(key)
        values[: self.images, :, self._new] = self._by_head(value)
        seen = keys[: self.images, :, : self._new.stop], values[: self.images, :, : self._new.stop]
        return _by_row(attend(self._by_head(query), *seen, scale, self._step_mask))

    def cross_attention(self, layer: int, query: Tensor, scale: float) -> Tensor:
        """Attend to the encoded images: [rows, width] -> [rows, width], in the dtype of their keys."""
        keys, values = self._cross[layer]
        seen = keys[: self.images], values[: self.images]
        return _by_row(attend(self._by_head(query.to(keys.dtype)), *seen, scale))

    def reorder(self, parents: Tensor) -> None:
        """Set each beam's parent, int64 [images, beams]: the beam attends to the positions of its parent."""
        self.beams = parents.shape[1]
        mask = self._mask[: self.images]
        self._mask = mask.gather(1, parents[..., None].expand(-1, -1, mask.shape[2]))

    def drop(self, image: int) -> None:
        """Remove an image. The last one takes its place."""
        last = self.images - 1
        if image != last:
            for keys, values in (*self._cross, *self._self):
                keys[image], values[image] = keys[last], values[last]
            self._mask[image] = self._mask[last]
        self.images = last

    def _compact(self, used: int) -> int:
        """Remove dead positions. Return the number of positions in use afterwards."""
        mask = self._mask[: self.images, :, :used]
        alive = (mask == 0).any(1)  # [images, used]
        self._compacted = int(alive.sum(1).max())
        if self._compacted < used:
            # Live positions first, in their order. An image with fewer keeps some dead ones, which are masked.
            order = alive.logical_not().to(torch.int8).argsort(dim=1, stable=True)[:, : self._compacted]
            self._mask[: self.images, :, : self._compacted] = mask.gather(
                2, order[:, None].expand(-1, mask.shape[1], -1)
            )
            self._mask[: self.images, :, self._compacted :] = -torch.inf
            index = order[:, None, :, None].expand(-1, self._heads, -1, self._head_dim)
            for pair in self._self:
                for each in pair:
                    each[: self.images, :, : self._compacted] = each[: self.images].gather(2, index)
        return self._compacted

    def _grow(self, needed: int) -> None:
        capacity = self._mask.shape[2]
        if needed <= capacity:
            return
        self._mask = _extended(self._mask, 2, max(needed, 2 * capacity), -torch.inf)
        self._self = [
            (_extended(keys, 2, self._mask.shape[2]), _extended(values, 2, self._mask.shape[2]))
            for keys, values in self._self
        ]

    def _by_head(self, x: Tensor) -> Tensor:
        """[rows, width] -> [images, heads, queries, head_dim]"""
        return x.view(self.images, self._queries, self._heads, self._head_dim).transpose(1, 2)


def _by_row(x: Tensor) -> Tensor:
    """[images, heads, queries, head_dim] -> [rows, width]"""
    return x.transpose(1, 2).flatten(0, 1).flatten(1)


def _extended(x: Tensor, dim: int, size: int, fill: Any = 0) -> Tensor:
    """Return the tensor, padded to `size` along a dimension."""
    shape = list(x.shape)
    shape[dim] = size - shape[dim]
    return torch.cat([x, x.new_full(shape, fill)], dim)


def attend(query: Tensor, keys: Tensor, values: Tensor, scale: float, mask: Tensor | None = None) -> Tensor:
    """Scaled dot-product attention, [images, heads, queries, head_dim] like the query.

    On a CPU, plain matrix products are as fast as PyTorch's kernel in fp32, and faster in bfloat16. With many queries,
    AMX makes the kernel faster.
    """
    if query.is_cuda or (query.dtype == torch.bfloat16 and query.shape[2] >= MANY_QUERIES and has_amx()):
        return scaled_dot_product_attention(query, keys, values, attn_mask=mask, scale=scale)
    scores = torch.matmul(query, keys.mT).mul_(scale)
    if mask is not None:
        scores += mask
    return torch.matmul(scores.softmax(-1), values)
