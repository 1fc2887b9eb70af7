"""ViT's self-attention with queries, keys and values from one product instead of three: the same numbers, sooner."""

from typing import Any

import torch
from torch import Tensor, nn
from transformers.models.vit.modeling_vit import ViTAttention

from flaskapp.captioner.engine.kv_cache import attend


class SelfAttention(nn.Module):
    """Takes the place of transformers' `ViTAttention`. `dtype` is what the patches are compared in."""

    def __init__(self, attention: Any, dtype: torch.dtype) -> None:
        super().__init__()
        self.heads: int = attention.num_attention_heads
        self.scale: float = attention.scaling
        self.dtype = dtype
        self.queries_keys_values = _side_by_side([attention.q_proj, attention.k_proj, attention.v_proj])
        self.out = attention.o_proj

    def forward(self, x: Tensor, attention_mask: None = None, **_: Any) -> tuple[Tensor, None]:
        """[images, patches, width] -> the same shape, and no weights."""
        query, keys, values = (
            self.queries_keys_values(x).to(self.dtype).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        )
        seen = attend(query, keys, values, self.scale)  # [images, heads, patches, head_dim]
        return self.out(seen.transpose(1, 2).flatten(2).to(x.dtype)), None


def _side_by_side(layers: list[nn.Linear]) -> nn.Linear:
    """One layer whose output is that of several with the same input, one after the other."""
    weight = torch.cat([layer.weight.detach() for layer in layers])
    joined = nn.Linear(weight.shape[1], weight.shape[0], layers[0].bias is not None, device="meta")
    joined.weight = nn.Parameter(weight, requires_grad=False)
    if layers[0].bias is not None:
        joined.bias = nn.Parameter(torch.cat([layer.bias.detach() for layer in layers]), requires_grad=False)
    return joined


def join_products(module: nn.Module, dtype: torch.dtype) -> None:
    """Replace every ViT self-attention inside a module. Other encoders have none, and stay as they are."""
    for name, child in module.named_children():
        if type(child) is ViTAttention:
            setattr(module, name, SelfAttention(child, dtype))
        else:
            join_products(child, dtype)
