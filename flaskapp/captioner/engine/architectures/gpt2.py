"""GPT-2 with cross-attention (vit-gpt2). Layers are pre-norm; queries, keys and values are one layer.

References: Language Models are Unsupervised Multitask Learners (Radford et al., 2019); modeling_gpt2.py.
"""

from typing import Any

from flaskapp.captioner.engine.description import (
    CrossAttention,
    DecoderDescription,
    FeedForward,
    Layer,
    NotDescribed,
    Packer,
    Positions,
    SelfAttention,
)


def describe(decoder: Any, packer: Packer) -> DecoderDescription:
    """Describe a `GPT2LMHeadModel`. Raise NotDescribed without cross-attention."""
    if not decoder.config.add_cross_attention:
        raise NotDescribed("its decoder has no cross-attention")
    body = decoder.transformer
    return DecoderDescription(
        heads=decoder.config.num_attention_heads,
        embed_tokens=body.wte,
        positions=Positions(body.wpe.weight),
        layers=[_layer(block, packer) for block in body.h],
        norm_first=True,
        final_norm=body.ln_f,
        head=packer.head(decoder, "lm_head"),
    )


def _layer(block: Any, packer: Packer) -> Layer:
    attention, cross, network = block.attn, block.crossattention, block.mlp
    return Layer(
        SelfAttention(packer.one(attention, "c_attn"), packer.one(attention, "c_proj"), block.ln_1, attention.scaling),
        CrossAttention(
            packer.one(cross, "q_attn"),
            packer.one(cross, "c_attn"),
            packer.one(cross, "c_proj"),
            block.ln_cross_attn,
            cross.scaling,
        ),
        FeedForward(packer.one(network, "c_fc", "act"), packer.one(network, "c_proj"), block.ln_2),
    )
