"""Image encoders with GPT-2, as saved by transformers 4.x."""

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import (
    BeitConfig,
    DeiTConfig,
    GPT2Config,
    PreTrainedConfig,
    SwinConfig,
    VisionEncoderDecoderConfig,
    VisionEncoderDecoderModel,
    ViTConfig,
)

from tests.captioner.layouts.files import change_json, dump, write_encoder_decoder, write_json, write_preprocessor
from tests.captioner.layouts.vocabularies import byte_pair_vocabulary, outside_words, write_byte_pairs
from tests.captioner.layouts.weights import randomise, saved_tensors, write_pickled, write_safetensors

END = "<|endoftext|>"
VERSION = "4.15.0"
POSITIONS = 1024
TOKEN_IDS = ("bos_token_id", "decoder_start_token_id", "eos_token_id", "pad_token_id")
SMALL = {"hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 96}


def small_vit(**changes: Any) -> ViTConfig:
    return ViTConfig(**(SMALL | {"image_size": 64, "patch_size": 16} | changes))


def write_gpt2_tokenizer(folder: Path, **changes: Any) -> dict[str, int]:
    """Write the slow tokenizer's files and special token maps. Return the vocabulary."""
    vocabulary, merges = byte_pair_vocabulary(180, [], [END])
    write_byte_pairs(folder, vocabulary, merges)
    tokens = dict.fromkeys(("bos_token", "eos_token", "unk_token"), END)
    write_json(folder / "special_tokens_map.json", tokens | {"pad_token": END}, indent=None)
    config = {
        "add_prefix_space": False, "model_max_length": 1024, "special_tokens_map_file": None, "name_or_path": "gpt2",
        "tokenizer_class": "GPT2Tokenizer",
    }  # fmt: skip
    write_json(folder / "tokenizer_config.json", tokens | config | changes, indent=None)
    return vocabulary


def with_old_buffers(tensors: dict[str, Tensor], layers: int) -> dict[str, Tensor]:
    """Add what transformers 4.15 also saved of GPT-2: masks that no later release reads, and the tied head."""
    mask = torch.ones(1, 1, POSITIONS, POSITIONS, dtype=torch.uint8).tril()
    for number in range(layers):
        for part in ("attn", "crossattention"):
            tensors[f"decoder.transformer.h.{number}.{part}.bias"] = mask
            tensors[f"decoder.transformer.h.{number}.{part}.masked_bias"] = torch.tensor(-1e4)
    tensors["decoder.lm_head.weight"] = tensors["decoder.transformer.wte.weight"]
    return tensors


def write_gpt2_captioner(
    folder: Path, encoder: PreTrainedConfig, seed: int, *, version: str = VERSION, image: Any = 64,
    extractor: str = "ViTFeatureExtractor", encoder_keys: dict[str, Any] | None = None,
    top: dict[str, Any] | None = None, pickled: bool = True, **drawing: Any,
) -> Path:  # fmt: skip
    """Write a checkpoint. `top` holds keys of config.json besides the encoder's and decoder's."""
    folder.mkdir(parents=True)
    vocabulary = write_gpt2_tokenizer(folder)
    end = vocabulary[END]
    decoder = GPT2Config(
        vocab_size=len(vocabulary), n_positions=POSITIONS, n_embd=48, n_layer=2, n_head=4, bos_token_id=end,
        eos_token_id=end, pad_token_id=end, is_decoder=True, add_cross_attention=True,
    )  # fmt: skip
    config = VisionEncoderDecoderConfig.from_encoder_decoder_configs(encoder, decoder)
    model = VisionEncoderDecoderModel(config)
    never = [number for number in outside_words(vocabulary) if number != end]
    randomise(
        model,
        seed,
        end=end,
        never=never,
        head=model.decoder.lm_head,
        last_norm=model.decoder.transformer.ln_f,
        **drawing,
    )
    tensors = saved_tensors(model)
    if pickled:
        write_pickled(folder, with_old_buffers(tensors, decoder.n_layer))
    else:
        write_safetensors(folder, tensors)
    old_decoder = dump(
        decoder, version, _name_or_path="gpt2", architectures=["GPT2LMHeadModel"], decoder_start_token_id=end,
        is_decoder=True, add_cross_attention=True, n_ctx=POSITIONS,
        task_specific_params={"text-generation": {"do_sample": True, "max_length": 50}},
    )  # fmt: skip
    tokens = dict.fromkeys(TOKEN_IDS, end)
    old_encoder = dump(encoder, version, **(encoder_keys or {}))
    write_encoder_decoder(folder, old_encoder, old_decoder, **(tokens | (top or {})))
    write_preprocessor(folder, image, extractor)
    return folder


def write_vit_gpt2(folder: Path, **options: Any) -> Path:
    """nlpconnect/vit-gpt2-image-captioning."""
    keys = {"_name_or_path": "google/vit-base-patch16-224-in21k", "architectures": ["ViTModel"]}
    return write_gpt2_captioner(folder, small_vit(), **({"seed": 0, "encoder_keys": keys} | options))


def write_vit_gpt2_coco(folder: Path, **options: Any) -> Path:
    """ydshieh/vit-gpt2-coco-en: config.json has generation settings."""
    search = {"max_length": 16, "num_beams": 4, "early_stopping": True, "no_repeat_ngram_size": 3}
    return write_gpt2_captioner(folder, small_vit(), **({"seed": 0, "version": "4.12.0.dev0", "top": search} | options))


def write_deit_gpt2(folder: Path, **options: Any) -> Path:
    """A DeiT encoder with a distillation token, and a feature extractor that crops."""
    encoder = DeiTConfig(**(SMALL | {"image_size": 64, "patch_size": 16}))
    write_gpt2_captioner(
        folder, encoder, **({"seed": 5, "version": "4.20.1", "extractor": "DeiTFeatureExtractor"} | options)
    )
    change_json(folder / "preprocessor_config.json", size=73, crop_size=64, do_center_crop=True, resample=3)
    return folder


def write_beit_gpt2(folder: Path, **options: Any) -> Path:
    """A BEiT encoder: no key biases, relative positions, layer scale."""
    encoder = BeitConfig(**(SMALL | {"image_size": 64, "patch_size": 16, "use_relative_position_bias": True}))
    write_gpt2_captioner(
        folder, encoder, **({"seed": 0, "version": "4.18.0", "extractor": "BeitFeatureExtractor"} | options)
    )
    change_json(folder / "preprocessor_config.json", crop_size=64, do_center_crop=False, reduce_labels=False)
    return folder


def write_swin_gpt2(folder: Path, **options: Any) -> Path:
    """A Swin encoder, narrower than the decoder: `enc_to_dec_proj` joins them. Weights in safetensors."""
    encoder = SwinConfig(
        embed_dim=8, depths=[1, 1, 1], num_heads=[1, 2, 4], window_size=4, image_size=64, patch_size=4, mlp_ratio=2.0
    )
    options = {"seed": 0, "version": "4.36.0", "pickled": False} | options
    write_gpt2_captioner(folder, encoder, extractor="ViTImageProcessor", image={"height": 64, "width": 64}, **options)
    processor = json.loads((folder / "preprocessor_config.json").read_text())
    processor["image_processor_type"] = processor.pop("feature_extractor_type")
    write_json(folder / "preprocessor_config.json", processor | {"do_rescale": True, "rescale_factor": 1 / 255})
    tokens = {name: json.loads((folder / "config.json").read_text())[name] for name in TOKEN_IDS}
    write_json(
        folder / "generation_config.json", tokens | {"_from_model_config": True, "transformers_version": "4.36.0"}
    )
    return folder
