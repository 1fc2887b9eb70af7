"""GPT-2 with cross-attention, for beam search: what transformers' `GPT2LMHeadModel` computes, with less work.

All beams of an image look at the same picture, so its keys and values are computed and kept once, not once a beam. And
nothing is moved when beams are reordered: what was computed for any beam of an image stays where it is, and a mask says
which of it are a beam's own ancestors.

References: GPT-2 (Radford et al., 2019); transformers/models/gpt2/modeling_gpt2.py.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, scaled_dot_product_attention

KeysValues = tuple[Tensor, Tensor]


class Cache:
    """Keys and values of images that are decoded in step, `beams` beams each. Grows by a token for each beam and step.

    `pictures` has each layer's keys and values of the encoded images, [images, heads, patches, head_dim], in a dtype
    that may be smaller than the text's: every token reads all of them.
    """

    def __init__(self, pictures: list[KeysValues], beams: int, max_length: int, dtype: torch.dtype) -> None:
        keys, _ = pictures[0]
        self.images, heads, _, head_dim = keys.shape
        self.beams = (
            1  # at first there is the start token alone; the first `reorder` makes it as many as there shall be
        )
        self.length = 0  # tokens that went through the decoder so far
        self.used = 0  # of the places below: one for the start token, then one for each beam and step
        places = 1 + beams * (max_length - 2)
        shape = self.images, heads, places, head_dim
        self._pictures = pictures
        self._texts = [(keys.new_empty(shape, dtype=dtype), keys.new_empty(shape, dtype=dtype)) for _ in pictures]
        self._mask = keys.new_full((self.images, 1, places), -torch.inf, dtype=dtype)  # 0 where a beam may look

    @property
    def rows(self) -> int:
        return self.images * self.beams

    def make_room(self) -> None:
        """Before a step: each beam gets a place for its new token, which it alone sees."""
        new = slice(self.used, self.used + self.beams)
        self._mask[:, range(self.beams), range(new.start, new.stop)] = 0
        self.used = new.stop
        self.length += 1

    def attend_to_text(self, layer: int, x: Tensor, scale: float) -> Tensor:
        """Remember the new tokens' keys and values, and look at those of the ancestors.

        x holds queries, keys and values side by side, [rows, 3 * width]; the result is [rows, width].
        """
        query, key, value = x.chunk(3, dim=1)
        keys, values = self._texts[layer]
        keys[: self.images, :, self.used - self.beams : self.used] = self._by_head(key)
        values[: self.images, :, self.used - self.beams : self.used] = self._by_head(value)
        mask = self._mask[: self.images, None, :, : self.used]
        seen = keys[: self.images, :, : self.used], values[: self.images, :, : self.used]
        return self._by_row(attend(self._by_head(query), *seen, scale, mask))

    def attend_to_picture(self, layer: int, query: Tensor, scale: float) -> Tensor:
        """Look at the encoded images: [rows, width] -> [rows, width]."""
        keys, values = self._pictures[layer]
        seen = keys[: self.images], values[: self.images]
        return self._by_row(attend(self._by_head(query.to(keys.dtype)), *seen, scale)).to(query.dtype)

    def reorder(self, parents: Tensor) -> None:
        """Each beam goes on from one of its image's beams: int64 [images, beams]. It sees what that one saw."""
        self.beams = parents.shape[1]
        mask = self._mask[: self.images]
        self._mask = mask.gather(1, parents[..., None].expand(-1, -1, mask.shape[2]))

    def drop(self, image: int) -> None:
        """Forget an image. The last one takes its place."""
        last = self.images - 1
        if image != last:
            for keys, values in (*self._pictures, *self._texts):
                keys[image], values[image] = keys[last], values[last]
            self._mask[image] = self._mask[last]
        self.images = last

    def _by_head(self, x: Tensor) -> Tensor:
        """[rows, width] -> [images, heads, beams, head_dim]"""
        keys, _ = self._pictures[0]
        return x.view(self.images, self.beams, keys.shape[1], keys.shape[3]).transpose(1, 2)

    def _by_row(self, x: Tensor) -> Tensor:
        """[images, heads, beams, head_dim] -> [rows, width]"""
        return x.transpose(1, 2).reshape(self.rows, -1)


class Block(nn.Module):
    """One layer: attention to the text so far, attention to the picture, and a feed-forward network."""

    def __init__(self, block: Any, layer: int) -> None:
        super().__init__()
        self.layer = layer
        self.heads: int = block.attn.num_heads
        self.text_norm, self.picture_norm, self.forward_norm = block.ln_1, block.ln_cross_attn, block.ln_2
        self.text_in, self.text_out = block.attn.c_attn, block.attn.c_proj
        self.text_scale: float = block.attn.scaling
        self.picture_query = block.crossattention.q_attn
        self.picture_keys_values = block.crossattention.c_attn
        self.picture_out = block.crossattention.c_proj
        self.picture_scale: float = block.crossattention.scaling
        self.widen, self.narrow = block.mlp.c_fc, block.mlp.c_proj
        self.activation = _fast(block.mlp.act)

    def look_at(self, encoded: Tensor, dtype: torch.dtype) -> KeysValues:
        """Keys and values of encoded images [images, patches, width] -> two of [images, heads, patches, head_dim]."""
        keys, values = (
            part.unflatten(2, (self.heads, -1)).transpose(1, 2).contiguous().to(dtype)
            for part in self.picture_keys_values(encoded).chunk(2, dim=2)
        )
        return keys, values

    def forward(self, x: Tensor, caches: Sequence[Cache]) -> Tensor:
        x = x + self.text_out(self._attend_to_text(self.text_in(self.text_norm(x)), caches))
        x = x + self.picture_out(self._attend_to_picture(self.picture_query(self.picture_norm(x)), caches))
        return x + cast(Tensor, self.narrow(self.activation(self.widen(self.forward_norm(x)))))

    def _attend_to_text(self, x: Tensor, caches: Sequence[Cache]) -> Tensor:
        parts = torch.split(x, [cache.rows for cache in caches])  # each [rows, 3 * width]
        return _join(
            cache.attend_to_text(self.layer, part, self.text_scale) for cache, part in zip(caches, parts, strict=True)
        )

    def _attend_to_picture(self, query: Tensor, caches: Sequence[Cache]) -> Tensor:
        parts = torch.split(query, [cache.rows for cache in caches])  # each [rows, width]
        return _join(
            cache.attend_to_picture(self.layer, part, self.picture_scale)
            for cache, part in zip(caches, parts, strict=True)
        )


class Decoder(nn.Module):
    """Runs on the layers of a `GPT2LMHeadModel` with cross-attention, whatever they were repacked to.

    What it knows of pictures is kept in the dtype `memory`.
    """

    def __init__(self, gpt2: Any, memory: torch.dtype) -> None:
        super().__init__()
        self.memory = memory
        body = gpt2.transformer
        self.token_embedding, self.position_embedding = body.wte, body.wpe
        self.norm, self.head = body.ln_f, gpt2.lm_head
        self.blocks = nn.ModuleList(Block(block, layer) for layer, block in enumerate(body.h))

    def look_at(self, encoded: Tensor, beams: int, max_length: int) -> Cache:
        """A cache for captions of encoded images [images, patches, width], of at most `max_length` tokens."""
        pictures = [block.look_at(encoded, self.memory) for block in cast(list[Block], self.blocks)]
        return Cache(pictures, beams, max_length, encoded.dtype)

    def forward(self, tokens: Tensor, caches: Sequence[Cache]) -> Tensor:
        """The last token of every beam of every cache, int64 [rows] -> logits of the next, [rows, vocabulary]."""
        positions = torch.cat([tokens.new_full((cache.rows,), cache.length) for cache in caches])
        for cache in caches:
            cache.make_room()
        x = self.token_embedding(tokens) + self.position_embedding(positions)
        for block in self.blocks:
            x = block(x, caches)
        logits: Tensor = self.head(self.norm(x))
        return logits


def attend(query: Tensor, keys: Tensor, values: Tensor, scale: float, mask: Tensor | None = None) -> Tensor:
    """Attention, [images, heads, queries, head_dim] like the query.

    PyTorch's kernel for a CPU divides the work by blocks of queries. With a few of them plain products are faster, and
    in bfloat16 with many as well.
    """
    if query.is_cuda:
        return scaled_dot_product_attention(query, keys, values, attn_mask=mask, scale=scale)
    scores = torch.matmul(query, keys.mT).mul_(scale)
    if mask is not None:
        scores += mask
    return torch.matmul(scores.softmax(-1), values)


def _fast(activation: Any) -> Callable[[Tensor], Tensor]:
    """GPT-2's own GELU takes eight operations in transformers; the others stay as they are."""
    return tanh_gelu if type(activation).__name__ == "NewGELUActivation" else activation


def tanh_gelu(x: Tensor) -> Tensor:
    """GELU by the tanh approximation, x (1 + tanh u) / 2, which is x sigmoid(2u).

    PyTorch's own `gelu(approximate="tanh")` takes twice as long on a CPU, but not on a GPU.
    """
    if x.is_cuda:
        return gelu(x, approximate="tanh")
    slope = 2 * math.sqrt(2 / math.pi)
    return torch.square(x).mul_(0.044715 * slope).add_(slope).mul_(x).sigmoid_().mul_(x)


def _join(parts: Iterable[Tensor]) -> Tensor:
    each = list(parts)
    return each[0] if len(each) == 1 else torch.cat(each)
