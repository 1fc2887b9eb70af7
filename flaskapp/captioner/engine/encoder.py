"""Faster layers for encoders, with the same results.

In the self-attention of ViT, DeiT and BLIP, one matrix product gives queries, keys and values. In their feed-forward
networks and those of BEiT and Swin, the activation is part of the product before it.
"""

from typing import Any

import torch
from torch import Tensor, nn
from transformers.models.beit.modeling_beit import BeitMLP
from transformers.models.blip.modeling_blip import BlipAttention, BlipMLP
from transformers.models.deit.modeling_deit import DeiTAttention, DeiTMLP
from transformers.models.swin.modeling_swin import SwinMLP
from transformers.models.vit.modeling_vit import ViTAttention, ViTMLP

from flaskapp.captioner.engine.description import Packer
from flaskapp.captioner.engine.kv_cache import attend

FEED_FORWARDS = (ViTMLP, DeiTMLP, BlipMLP, BeitMLP, SwinMLP)  # all have fc1, activation_fn and fc2


class SelfAttention(nn.Module):
    """Replaces transformers' self-attention. `dtype` is the attention dtype."""

    def __init__(
        self, query_key_value: nn.Module, out: nn.Module, heads: int, scale: float, dtype: torch.dtype
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
        return self.out(seen.transpose(1, 2).flatten(2)), None


def replace_layers(module: nn.Module, packer: Packer, dtype: torch.dtype) -> None:
    """Replace the attention and the feed-forward layers of supported encoders inside a module. Leave all others."""
    for name, child in module.named_children():
        if type(child) in (ViTAttention, DeiTAttention):
            setattr(module, name, _from_vit(child, packer, dtype))
        elif type(child) is BlipAttention:
            joined, out = packer.one(child, "qkv"), packer.one(child, "projection")
            setattr(module, name, SelfAttention(joined, out, child.num_heads, child.scale, dtype))
        elif type(child) in FEED_FORWARDS:
            # Without the conversions of `for_transformers`: the addition of the residual returns to fp32.
            child.fc1, child.fc2 = packer.one(child, "fc1", "activation_fn"), packer.one(child, "fc2")
        else:
            replace_layers(child, packer, dtype)


def _from_vit(attention: Any, packer: Packer, dtype: torch.dtype) -> SelfAttention:
    joined, out = packer.joined(attention, "q_proj", "k_proj", "v_proj"), packer.one(attention, "o_proj")
    return SelfAttention(joined, out, attention.num_attention_heads, attention.scaling, dtype)
