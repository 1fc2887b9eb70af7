"""Faster self-attention for the encoders of ViT, DeiT and BLIP, with the same results.

Queries, keys and values come from one matrix product instead of three.
"""

from typing import Any

import torch
from torch import Tensor, nn
from transformers.models.blip.modeling_blip import BlipAttention
from transformers.models.deit.modeling_deit import DeiTAttention
from transformers.models.vit.modeling_vit import ViTAttention

from flaskapp.captioner.engine.kv_cache import attend


class SelfAttention(nn.Module):
    """Replaces transformers' self-attention. `dtype` is the attention dtype."""

    def __init__(
        self, query_key_value: nn.Linear, out: nn.Module, heads: int, scale: float, dtype: torch.dtype
    ) -> None:
        super().__init__()
        self.query_key_value, self.out = query_key_value, out
        self.heads, self.scale, self.dtype = heads, scale, dtype

    def forward(self, hidden_states: Tensor, attention_mask: None = None, **_: Any) -> tuple[Tensor, None]:
        """[images, patches, width] -> the same shape, and None for the attention weights."""
        query, keys, values = (
            self.query_key_value(hidden_states).to(self.dtype).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        )
        seen = attend(query, keys, values, self.scale)  # [images, heads, patches, head_dim]
        return self.out(seen.transpose(1, 2).flatten(2).to(hidden_states.dtype)), None


def replace_attention(module: nn.Module, dtype: torch.dtype) -> None:
    """Replace the self-attention of supported encoders inside a module. Leave all others."""
    for name, child in module.named_children():
        if type(child) in (ViTAttention, DeiTAttention):
            setattr(module, name, _from_vit(child, dtype))
        elif type(child) is BlipAttention:
            attention = SelfAttention(child.qkv, child.projection, child.num_heads, child.scale, dtype)
            setattr(module, name, attention)
        else:
            replace_attention(child, dtype)


def _from_vit(attention: Any, dtype: torch.dtype) -> SelfAttention:
    joined = _join([attention.q_proj, attention.k_proj, attention.v_proj])
    return SelfAttention(joined, attention.o_proj, attention.num_attention_heads, attention.scaling, dtype)


def _join(layers: list[nn.Linear]) -> nn.Linear:
    """Join layers with the same input into one, whose output concatenates theirs."""
    weight = torch.cat([layer.weight.detach() for layer in layers])
    joined = nn.Linear(weight.shape[1], weight.shape[0], layers[0].bias is not None, device="meta")
    joined.weight = nn.Parameter(weight, requires_grad=False)
    if layers[0].bias is not None:
        joined.bias = nn.Parameter(torch.cat([layer.bias.detach() for layer in layers]), requires_grad=False)
    return joined
