"""The architectures that the fast decoder supports. To add one, write a module here and add it to a table below."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from transformers import (
    BartForCausalLM,
    BertLMHeadModel,
    BlipForConditionalGeneration,
    CamembertForCausalLM,
    GPT2LMHeadModel,
    MBartForCausalLM,
    RobertaForCausalLM,
    TrOCRForCausalLM,
    VisionEncoderDecoderModel,
    XLMRobertaForCausalLM,
)
from transformers.models.blip.modeling_blip_text import BlipTextLMHeadModel

from flaskapp.captioner.engine.architectures import bart, bert, gpt2
from flaskapp.captioner.engine.description import DecoderDescription, NotDescribed, Packer

DECODERS: dict[type, Callable[[Any, Packer], DecoderDescription]] = {
    GPT2LMHeadModel: gpt2.describe,
    BertLMHeadModel: bert.describe,
    RobertaForCausalLM: bert.describe_roberta,
    XLMRobertaForCausalLM: bert.describe_roberta,
    CamembertForCausalLM: bert.describe_roberta,
    BlipTextLMHeadModel: bert.describe_blip,
    TrOCRForCausalLM: bart.describe_trocr,
    BartForCausalLM: bart.describe_bart,
    MBartForCausalLM: bart.describe_mbart,
}


@dataclass(frozen=True)
class Parts:
    """The parts of an image-to-text model: an image encoder, and a decoder that attends to its output."""

    encoder: Any  # a transformers model
    encode: Callable[[Tensor], Tensor]  # pixels [images, 3, height, width] -> [images, patches, width]
    decoder: Any  # a transformers model


def take_apart(model: Any) -> Parts:
    """Split a model into its parts. Raise NotDescribed, with the reason, for an unsupported structure."""
    split = MODELS.get(type(model))
    if split is None:
        raise NotDescribed(f"there is no description of {type(model).__name__}")
    parts = split(model)
    if type(parts.decoder) not in DECODERS:
        raise NotDescribed(f"there is no description of the decoder {type(parts.decoder).__name__}")
    return parts


def describe(parts: Parts, packer: Packer) -> DecoderDescription:
    """Describe the decoder, and pack its linear layers. Raise NotDescribed for an unsupported variant."""
    return DECODERS[type(parts.decoder)](parts.decoder, packer)


def _vision_encoder_decoder(model: Any) -> Parts:
    def encode(pixels: Tensor) -> Tensor:
        # Explicitly: the checkpoint's config.json may have `return_dict: false`.
        encoded: Tensor = model.encoder(pixel_values=pixels, return_dict=True).last_hidden_state
        if hasattr(model, "enc_to_dec_proj"):
            encoded = model.enc_to_dec_proj(encoded)
        return encoded

    return Parts(model.encoder, encode, model.decoder)


def _blip(model: Any) -> Parts:
    return Parts(
        model.vision_model,
        lambda pixels: model.vision_model(pixel_values=pixels, return_dict=True).last_hidden_state,
        model.text_decoder,
    )


MODELS: dict[type, Callable[[Any], Parts]] = {
    VisionEncoderDecoderModel: _vision_encoder_decoder,
    BlipForConditionalGeneration: _blip,
}
