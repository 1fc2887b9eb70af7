"""The vit-gpt2 checkpoint with saved generation settings, in generation_config.json or in config.json."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.captioner.layouts.bert import write_blip
from tests.captioner.layouts.files import change_json, write_json
from tests.captioner.layouts.gpt2 import TOKEN_IDS, write_vit_gpt2
from tests.captioner.layouts.plain import Plain, sample_images

Tokens = list[int]  # of a caption without these settings: start, words, possibly the end

# Settings that change captions, as functions of the tokens of the unchanged captions.
EFFECTIVE: dict[str, Callable[[Tokens], dict[str, Any]]] = {
    "forced-bos": lambda tokens: {"forced_bos_token_id": tokens[3]},
    "forced-eos": lambda tokens: {"forced_eos_token_id": tokens[0], "max_length": 6},
    "bad-words": lambda tokens: {"bad_words_ids": [[tokens[1]], tokens[2:4]]},
    "suppress": lambda tokens: {"suppress_tokens": [tokens[1], tokens[3]]},
    "begin-suppress": lambda tokens: {"begin_suppress_tokens": [tokens[0], tokens[1]]},
    "outside-vocabulary": lambda tokens: {
        "suppress_tokens": [-1, 50256], "begin_suppress_tokens": [-1, 50256], "min_length": 6,
        "eos_token_id": [tokens[0], tokens[3], 50256, -1],
    },
    "max-new-tokens": lambda tokens: {"max_new_tokens": 4},
    "min-new-tokens": lambda tokens: {"min_new_tokens": 14},
    "several-ends": lambda tokens: {"eos_token_id": [tokens[0], tokens[3]]},
    "sampling-of-one": lambda tokens: {"do_sample": True, "temperature": 1e-6, "top_k": 1, "top_p": 0.001},
    "repetition-penalty": lambda tokens: {"repetition_penalty": 1.8, "no_repeat_ngram_size": 2},
    "length-decay": lambda tokens: {"exponential_decay_length_penalty": [2, 1.6]},
    "beams": lambda tokens: {"num_beams": 3, "early_stopping": True, "length_penalty": 2.0, "max_length": 14},
}  # fmt: skip
# Settings that must not change captions.
NEUTRAL: dict[str, dict[str, Any]] = {
    "sampling-leftovers": {"do_sample": False, "temperature": 0.7, "top_k": 20, "top_p": 0.8, "typical_p": 0.9},
    "neutral": {
        "diversity_penalty": 0.0, "num_beam_groups": 1, "encoder_no_repeat_ngram_size": 0, "output_scores": False,
        "remove_invalid_values": False, "repetition_penalty": 1.0, "typical_p": 1.0, "temperature": 1.0, "top_k": 50,
        "num_return_sequences": 1, "min_length": 0, "suppress_tokens": None,
    },
}  # fmt: skip
SAMPLING = {"sampling": {"do_sample": True, "top_k": 20, "temperature": 0.8}}


def writer(name: str) -> Callable[..., Path]:
    """Return the writer of a variant by the name of its settings."""

    def write(folder: Path, **options: Any) -> Path:
        write_vit_gpt2(folder, **options)
        if name in EFFECTIVE:
            settings = EFFECTIVE[name](
                Plain(folder).generate(sample_images()[1], {"num_beams": 1, "max_new_tokens": 12})
            )
        else:
            settings = (NEUTRAL | SAMPLING)[name]
        config = json.loads((folder / "config.json").read_text())
        ids = {name: config[name] for name in TOKEN_IDS}
        stamp = {"_from_model_config": True, "transformers_version": "4.30.2"}
        write_json(folder / "generation_config.json", stamp | ids | settings)
        return folder

    return write


def write_forced_bos_in_config(folder: Path, **options: Any) -> Path:
    """Write the settings into config.json, without generation_config.json."""
    write_vit_gpt2(folder, **options)
    caption = Plain(folder).generate(sample_images()[1], {"num_beams": 1, "max_new_tokens": 12})
    change_json(folder / "config.json", forced_bos_token_id=caption[3], no_repeat_ngram_size=2)
    return folder


def write_listed_start(folder: Path, **options: Any) -> Path:
    """Write the start token as a list."""
    write_vit_gpt2(folder, **options)
    config = json.loads((folder / "config.json").read_text())
    ids = {name: config[name] for name in TOKEN_IDS}
    write_json(folder / "generation_config.json", ids | {"decoder_start_token_id": [ids["decoder_start_token_id"]]})
    return folder


def write_encoder_of_tuples(folder: Path, **options: Any) -> Path:
    """Write an encoder that returns tuples by default."""
    write_vit_gpt2(folder, **options)
    encoder = json.loads((folder / "config.json").read_text())["encoder"]
    change_json(folder / "config.json", encoder=encoder | {"return_dict": False})
    return folder


def write_blip_encoder_of_tuples(folder: Path, **options: Any) -> Path:
    """Write BLIP with an encoder that returns tuples by default."""
    write_blip(folder, **options)
    encoder = json.loads((folder / "config.json").read_text())["vision_config"]
    change_json(folder / "config.json", vision_config=encoder | {"return_dict": False})
    return folder
