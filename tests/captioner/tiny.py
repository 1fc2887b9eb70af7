"""Small random checkpoints in the file layout of the default hub checkpoint."""

import json
from pathlib import Path
from typing import Any

import torch
from transformers import GPT2Config, VisionEncoderDecoderConfig, VisionEncoderDecoderModel, ViTConfig

from flaskapp.captioner.checkpoints.hub import EMBEDDED_FOLDER


def make_model(encoder: Any) -> VisionEncoderDecoderModel:
    torch.manual_seed(0)
    decoder = GPT2Config(vocab_size=384, n_positions=32, n_embd=32, n_layer=1, n_head=2, bos_token_id=0, eos_token_id=0)
    config = VisionEncoderDecoderConfig.from_encoder_decoder_configs(
        encoder, decoder, decoder_start_token_id=0, pad_token_id=0, eos_token_id=0
    )
    return VisionEncoderDecoderModel(config).eval()


def small_vit() -> ViTConfig:
    return ViTConfig(
        hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64, image_size=32, patch_size=16
    )


def write_bpe(folder: Path) -> None:
    """Write GPT-2's two files, vocab.json and merges.txt, from the embedded model's tokenizer.json."""
    bpe = json.loads((EMBEDDED_FOLDER / "tokenizer.json").read_text())["model"]
    (folder / "vocab.json").write_text(json.dumps(bpe["vocab"]))
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in bpe["merges"]]
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges, ""]))


def write_like_the_hub(folder: Path, model: VisionEncoderDecoderModel) -> Path:
    """Write the default hub checkpoint's files: pickled weights, an old preprocessor, no generation_config.json."""
    folder.mkdir()
    model.config.save_pretrained(folder)
    torch.save(model.state_dict(), folder / "pytorch_model.bin")
    preprocessor = {
        "do_normalize": True, "do_resize": True, "feature_extractor_type": "ViTFeatureExtractor",
        "image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5], "resample": 2, "size": 32,
    }  # fmt: skip
    (folder / "preprocessor_config.json").write_text(json.dumps(preprocessor))
    end = "<|endoftext|>"
    names = {"bos_token": end, "eos_token": end, "unk_token": end, "pad_token": end}
    (folder / "special_tokens_map.json").write_text(json.dumps(names))
    tokenizer = names | {"tokenizer_class": "GPT2Tokenizer", "model_max_length": 1024, "add_prefix_space": False}
    (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer))
    write_bpe(folder)
    return folder
