"""Full-size checkpoints with random weights in the published layouts.

The files are those of the tests' small checkpoints (`tests.captioner.layouts`), with the published sizes in config.json
and made-up words that fill the vocabulary.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForImageTextToText

from tests.captioner.layouts.bert import write_blip
from tests.captioner.layouts.files import change_json, write_json
from tests.captioner.layouts.gpt2 import write_vit_gpt2
from tests.captioner.layouts.trocr import write_trocr_base
from tests.captioner.layouts.vocabularies import write_word_piece_tokenizer
from tests.captioner.layouts.weights import saved_tensors, write_pickled

BASE = {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072}


@dataclass(frozen=True)
class FullSize:
    """`parts` are the keys of config.json that give a small checkpoint the published sizes."""

    title: str
    write: Callable[[Path], Path]
    parts: dict[str, dict[str, Any]]
    image_side: int  # pixels
    words: int


FULL_SIZES = {
    "vit-gpt2": FullSize(
        "ViT-B/16 + GPT-2 (239 M parameters)",
        write_vit_gpt2,
        {
            "encoder": BASE | {"image_size": 224, "patch_size": 16},
            "decoder": {"n_embd": 768, "n_layer": 12, "n_head": 12, "vocab_size": 50_257},
        },
        224,
        50_257,
    ),
    "blip-base": FullSize(
        "BLIP base (247 M parameters)",
        write_blip,
        {
            "text_config": BASE
            | {"encoder_hidden_size": 768, "vocab_size": 30_524, "bos_token_id": 30_522, "projection_dim": 768},
            "vision_config": BASE | {"image_size": 384, "patch_size": 16},
        },
        384,
        30_522,
    ),
    "trocr-base": FullSize(
        "TrOCR base (334 M parameters)",
        write_trocr_base,
        {
            "encoder": BASE | {"image_size": 384, "patch_size": 16},
            "decoder": {
                "d_model": 1024,
                "decoder_layers": 12,
                "decoder_attention_heads": 16,
                "decoder_ffn_dim": 4096,
                "vocab_size": 50_265,
                "cross_attention_hidden_size": 768,
            },
        },
        384,
        50_265,
    ),
}


def write(name: str, folder: Path) -> Path:
    """Write one of FULL_SIZES into a new folder."""
    full = FULL_SIZES[name]
    full.write(folder)
    config = json.loads((folder / "config.json").read_text())
    for part, sizes in full.parts.items():
        config[part] |= sizes
    write_json(folder / "config.json", config)
    change_json(folder / "preprocessor_config.json", size=full.image_side)
    _fill_vocabulary(folder, full.words)
    torch.manual_seed(0)
    model = AutoModelForImageTextToText.from_config(AutoConfig.from_pretrained(folder))
    tensors = {name: tensor for name, tensor in saved_tensors(model).items() if ".pooler." not in name}
    write_pickled(folder, tensors)
    return folder


def _fill_vocabulary(folder: Path, words: int) -> None:
    """Append made-up words to the vocabulary."""
    if (folder / "vocab.json").exists():
        vocabulary = json.loads((folder / "vocab.json").read_text())
        made_up = {f"w{number}": number for number in range(len(vocabulary), words)}
        write_json(folder / "vocab.json", vocabulary | made_up, indent=None)
    else:
        known = (folder / "vocab.txt").read_text().splitlines()
        write_word_piece_tokenizer(folder, [*known, *(f"w{number}" for number in range(len(known), words))])
