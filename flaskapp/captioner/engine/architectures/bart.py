"""BART's decoders. TrOCR and BART have post-norm layers; mBART (Donut) has pre-norm layers and a final norm.

Learned positions are stored from row 2 on. TrOCR's may be sinusoids instead, stored from the row after the padding
token's.

References: BART (Lewis et al., 2019), TrOCR (Li et al., 2021), mBART (Liu et al., 2020); modeling_trocr.py,
modeling_bart.py, modeling_mbart.py.
"""

from typing import Any

from flaskapp.captioner.engine.description import (
    CrossAttention,
    DecoderDescription,
    FeedForward,
    Layer,
    Packer,
    Positions,
    SelfAttention,
)


def describe_trocr(decoder: Any, packer: Packer) -> DecoderDescription:
    """Describe a `TrOCRForCausalLM`."""
    return _description(decoder, packer, "output_projection", norm_first=False)


def describe_bart(decoder: Any, packer: Packer) -> DecoderDescription:
    """Describe a `BartForCausalLM`."""
    return _description(decoder, packer, "lm_head", norm_first=False)


def describe_mbart(decoder: Any, packer: Packer) -> DecoderDescription:
    """Describe an `MBartForCausalLM`."""
    return _description(decoder, packer, "lm_head", norm_first=True)


def _description(decoder: Any, packer: Packer, head: str, *, norm_first: bool) -> DecoderDescription:
    body = decoder.model.decoder
    return DecoderDescription(
        heads=decoder.config.decoder_attention_heads,
        embed_tokens=body.embed_tokens,  # scales the embeddings
        positions=_positions(body.embed_positions),
        embedding_norm=body.layernorm_embedding,
        layers=[_layer(layer, packer) for layer in body.layers],
        norm_first=norm_first,
        final_norm=body.layer_norm if norm_first else None,
        head=packer.head(decoder, head),
    )


def _positions(embedding: Any) -> Positions:
    if hasattr(embedding, "weights"):  # sinusoids
        return Positions(embedding.weights, embedding.padding_idx + 1, embedding.padding_idx)
    return Positions(embedding.weight, embedding.offset)


def _layer(layer: Any, packer: Packer) -> Layer:
    attention, cross = layer.self_attn, layer.encoder_attn
    return Layer(
        SelfAttention(
            packer.joined(attention, "q_proj", "k_proj", "v_proj"),
            packer.one(attention, "out_proj"),
            layer.self_attn_layer_norm,
            attention.scaling,
        ),
        CrossAttention(
            packer.one(cross, "q_proj"),
            packer.joined(cross, "k_proj", "v_proj"),
            packer.one(cross, "out_proj"),
            layer.encoder_attn_layer_norm,
            cross.scaling,
        ),
        FeedForward(packer.one(layer, "fc1", "activation_fn"), packer.one(layer, "fc2"), layer.final_layer_norm),
    )
