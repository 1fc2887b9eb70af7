"""Checkpoints with missing or wrong files, and checkpoints of other kinds of models."""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import BertConfig, BertForMaskedLM

from tests.captioner.layouts.files import change_json, write_json
from tests.captioner.layouts.gpt2 import TOKEN_IDS, write_gpt2_tokenizer, write_vit_gpt2
from tests.captioner.layouts.queries import write_instructblip
from tests.captioner.layouts.trocr import write_trocr_small
from tests.captioner.layouts.vocabularies import byte_pair_vocabulary, write_byte_pairs

LFS_POINTER = (
    "version https://git-lfs.github.com/spec/v1\n"
    "oid sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\n"
    "size 1356293\n"
)
LOST = "decoder.transformer.h.1.mlp.c_fc.weight"
NOT_A_NUMBER = "decoder.transformer.h.0.crossattention.c_proj.weight"
TOKENIZER_FILES = ("vocab.json", "merges.txt", "tokenizer_config.json", "special_tokens_map.json")


@dataclass(frozen=True)
class Broken:
    """A checkpoint with a fault. The reason must contain `says`; None: the checkpoint loads nevertheless."""

    name: str
    write: Callable[[Path], Path]
    says: str | None


def change_weights(folder: Path, change: Callable[[dict[str, Tensor]], object]) -> Path:
    file = folder / "pytorch_model.bin"
    tensors = torch.load(file, weights_only=True)
    change(tensors)
    torch.save(tensors, file)
    return folder


def without_tokenizer(folder: Path) -> Path:
    write_vit_gpt2(folder)
    for name in TOKENIZER_FILES:
        (folder / name).unlink()
    return folder


def tokenizer_too_small(folder: Path) -> Path:
    """Write a vocabulary of 41 tokens for a head of 437."""
    write_vit_gpt2(folder)
    vocabulary = json.loads((folder / "vocab.json").read_text())
    few = [*list(vocabulary)[:40], "<|endoftext|>"]
    write_byte_pairs(folder, {token: number for number, token in enumerate(few)}, [])
    return folder


def tokenizer_too_large(folder: Path) -> Path:
    """Write a vocabulary of more than 2000 tokens for a head of 437."""
    write_vit_gpt2(folder)
    vocabulary, merges = byte_pair_vocabulary(180, [], [f"<extra{number}>" for number in range(2000)])
    write_byte_pairs(folder, vocabulary | {"<|endoftext|>": len(vocabulary)}, merges)
    return folder


def tokenizer_is_pointer(folder: Path) -> Path:
    write_trocr_small(folder)
    (folder / "sentencepiece.bpe.model").write_text(LFS_POINTER)
    return folder


def weights_are_pointer(folder: Path) -> Path:
    write_vit_gpt2(folder)
    (folder / "pytorch_model.bin").write_text(LFS_POINTER)
    return folder


def without_weight(folder: Path) -> Path:
    return change_weights(write_vit_gpt2(folder), lambda tensors: tensors.pop(LOST))


def without_pooler(folder: Path) -> Path:
    def remove(tensors: dict[str, Tensor]) -> None:
        for name in [name for name in tensors if name.startswith("encoder.pooler.")]:
            del tensors[name]

    return change_weights(write_vit_gpt2(folder), remove)


def with_nan(folder: Path) -> Path:
    return change_weights(write_vit_gpt2(folder), lambda tensors: tensors[NOT_A_NUMBER].fill_(torch.nan))


def without_start(folder: Path) -> Path:
    """Remove the start token from config.json, its decoder's part and the tokenizer."""
    write_vit_gpt2(folder)
    config = json.loads((folder / "config.json").read_text())
    nothing = {"bos_token_id": None, "decoder_start_token_id": None}
    change_json(folder / "config.json", **nothing, decoder=config["decoder"] | nothing)
    change_json(folder / "tokenizer_config.json", bos_token=None)
    tokens = json.loads((folder / "special_tokens_map.json").read_text())
    write_json(folder / "special_tokens_map.json", tokens | {"bos_token": None})
    return folder


def language_model(folder: Path) -> Path:
    """Write a BERT, which takes no images."""
    config = BertConfig(
        vocab_size=437, hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64
    )
    BertForMaskedLM(config).save_pretrained(folder)
    write_gpt2_tokenizer(folder)
    return folder


def unknown_model(folder: Path) -> Path:
    """Write a model_type unknown to transformers, with its own code, which must not run."""
    write_vit_gpt2(folder)
    code = {"AutoConfig": "configuration_own.OwnConfig", "AutoModelForImageTextToText": "modeling_own.OwnModel"}
    change_json(folder / "config.json", model_type="own_captioner", architectures=["OwnModel"], auto_map=code)
    (folder / "configuration_own.py").write_text("raise SystemExit('code of a checkpoint has run')\n")
    (folder / "modeling_own.py").write_text("raise SystemExit('code of a checkpoint has run')\n")
    return folder


def without_tokenizer_class(folder: Path) -> Path:
    write_vit_gpt2(folder)
    config = json.loads((folder / "tokenizer_config.json").read_text())
    write_json(folder / "tokenizer_config.json", config | {"tokenizer_class": None})
    return folder


def without_preprocessor(folder: Path) -> Path:
    write_vit_gpt2(folder)
    (folder / "preprocessor_config.json").unlink()
    return folder


def broken_json(folder: Path) -> Path:
    write_vit_gpt2(folder)
    (folder / "config.json").write_text('{"model_type": "vision-encoder-decoder",')
    return folder


def generation_not_json(folder: Path) -> Path:
    write_vit_gpt2(folder)
    (folder / "generation_config.json").write_text('{"max_length": 16,')
    return folder


def wrong_shape(folder: Path) -> Path:
    def halve(tensors: dict[str, Tensor]) -> None:
        tensors[LOST] = tensors[LOST][:, : tensors[LOST].shape[1] // 2].clone()

    return change_weights(write_vit_gpt2(folder), halve)


def start_beyond_head(folder: Path) -> Path:
    """Set a start token beyond the head."""
    write_vit_gpt2(folder)
    write_json(folder / "generation_config.json", {"decoder_start_token_id": 5000, "eos_token_id": 436})
    return folder


def without_further_tokenizer(folder: Path) -> Path:
    write_instructblip(folder)
    shutil.rmtree(folder / "qformer_tokenizer")
    return folder


def further_tokenizer_is_pointer(folder: Path) -> Path:
    write_instructblip(folder)
    (folder / "qformer_tokenizer" / "tokenizer.json").write_text(LFS_POINTER)
    return folder


def with_settings(**settings: Any) -> Callable[[Path], Path]:
    """Return a writer of a checkpoint with these generation settings."""

    def write(folder: Path) -> Path:
        write_vit_gpt2(folder)
        config = json.loads((folder / "config.json").read_text())
        write_json(folder / "generation_config.json", {name: config[name] for name in TOKEN_IDS} | settings)
        return folder

    return write


BROKEN: dict[str, Broken] = {
    broken.name: broken
    for broken in (
        Broken("without-tokenizer", without_tokenizer, "tokenizer"),
        Broken("tokenizer-too-small", tokenizer_too_small, "tokenizer"),
        Broken("tokenizer-too-large", tokenizer_too_large, "tokenizer"),
        Broken("tokenizer-is-pointer", tokenizer_is_pointer, "Git LFS"),
        Broken("without-further-tokenizer", without_further_tokenizer, "qformer_tokenizer"),
        Broken("further-tokenizer-is-pointer", further_tokenizer_is_pointer, "Git LFS"),
        Broken("weights-are-pointer", weights_are_pointer, "Git LFS"),
        Broken("without-weight", without_weight, LOST),
        Broken("wrong-shape", wrong_shape, LOST),
        Broken("without-pooler", without_pooler, None),
        Broken("with-nan", with_nan, NOT_A_NUMBER),
        Broken("without-start", without_start, "start token"),
        Broken("several-starts", with_settings(decoder_start_token_id=[436, 5]), "decoder_start_token_id must be one"),
        Broken("without-tokenizer-class", without_tokenizer_class, "must name a tokenizer_class"),
        Broken("generation-not-json", generation_not_json, "generation configuration cannot be loaded"),
        Broken("early-stopping", with_settings(early_stopping="sometimes"), "generation configuration cannot be"),
        Broken("tokens-not-a-list", with_settings(suppress_tokens=5), "generation configuration cannot be loaded"),
        Broken("negative-penalty", with_settings(repetition_penalty=-1.0), "repetition_penalty is not greater than 0"),
        Broken("start-beyond-head", start_beyond_head, "start token"),
        Broken("negative-bad-word", with_settings(bad_words_ids=[[5], [-1]]), "bad_words_ids has -1"),
        Broken("bad-word-beyond-head", with_settings(bad_words_ids=[[5, 437]]), "bad_words_ids has 437"),
        Broken("forced-token-beyond-head", with_settings(forced_bos_token_id=437), "forced_bos_token_id has 437"),
        Broken("penalty-is-text", with_settings(length_penalty="2.0"), "length_penalty is not a number"),
        Broken("beams-are-a-fraction", with_settings(num_beams=4.0), "num_beams is not a number"),
        Broken("group-beam-search", with_settings(num_beams=4, num_beam_groups=2), "num_beam_groups=2"),
        Broken("contrastive-search", with_settings(penalty_alpha=0.6, top_k=4), "penalty_alpha=0.6"),
        Broken("dola", with_settings(dola_layers="high"), "dola_layers=high"),
        Broken("without-preprocessor", without_preprocessor, "preprocessor_config.json"),
        Broken("broken-json", broken_json, "config.json"),
        Broken("language-model", language_model, "bert"),
        Broken("unknown-model", unknown_model, "own_captioner"),
    )
}
