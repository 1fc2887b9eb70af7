"""BERT's decoders with cross-attention: BERT (manga-ocr), RoBERTa and BLIP's. Layers are post-norm.

BLIP's decoder has no token types. RoBERTa's positions start after the padding token's.

References: BERT (Devlin et al., 2019); modeling_bert.py, modeling_roberta.py, modeling_blip_text.py.
"""

from typing import Any

from torch import Tensor, nn

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
    """Describe a `BertLMHeadModel`. Raise NotDescribed if it is no decoder."""
    _check(decoder)
    return _description(decoder, decoder.bert, decoder.cls.predictions, packer)


def describe_roberta(decoder: Any, packer: Packer) -> DecoderDescription:
    """Describe a `RobertaForCausalLM` or another model of its structure. Raise NotDescribed if it is no decoder."""
    _check(decoder)
    body = decoder.roberta
    padding = body.embeddings.padding_idx
    return _description(decoder, body, decoder.lm_head, packer, offset=padding + 1, padding=padding)


def describe_blip(decoder: Any, packer: Packer) -> DecoderDescription:
    """Describe BLIP's text decoder, a `BlipTextLMHeadModel`."""
    return _description(decoder, decoder.bert, decoder.cls.predictions, packer)


def _check(decoder: Any) -> None:
    if not (decoder.config.is_decoder and decoder.config.add_cross_attention):
        raise NotDescribed("its decoder has no causal attention or no cross-attention")


def _description(
    decoder: Any, body: Any, head: nn.Module, packer: Packer, *, offset: int = 0, padding: int | None = None
) -> DecoderDescription:
    embeddings = body.embeddings
    packer.head(head, "decoder")
    return DecoderDescription(
        heads=decoder.config.num_attention_heads,
        embed_tokens=embeddings.word_embeddings,
        positions=Positions(embeddings.position_embeddings.weight, offset, padding),
        token_type=_first_token_type(embeddings),
        embedding_norm=embeddings.LayerNorm,
        layers=[_layer(layer, packer) for layer in body.encoder.layer],
        norm_first=False,
        head=head,
    )


def _first_token_type(embeddings: Any) -> Tensor | None:
    types = getattr(embeddings, "token_type_embeddings", None)
    return None if types is None else types.weight[0]


def _layer(layer: Any, packer: Packer) -> Layer:
    attention, cross = layer.attention, layer.crossattention
    return Layer(
        SelfAttention(
            packer.joined(attention.self, "query", "key", "value"),
            packer.one(attention.output, "dense"),
            attention.output.LayerNorm,
            attention.self.attention_head_size**-0.5,
        ),
        CrossAttention(
            packer.one(cross.self, "query"),
            packer.joined(cross.self, "key", "value"),
            packer.one(cross.output, "dense"),
            cross.output.LayerNorm,
            cross.self.attention_head_size**-0.5,
        ),
        FeedForward(
            packer.one(layer.intermediate, "dense", "intermediate_act_fn"),
            packer.one(layer.output, "dense"),
            layer.output.LayerNorm,
        ),
    )
