"""InstructBLIP: BLIP-2 whose queries also read the prompt, with a tokenizer of their own in a folder."""

from pathlib import Path
from typing import Any

from transformers import InstructBlipConfig, InstructBlipForConditionalGeneration

from tests.captioner.layouts.bert import write_bert_tokenizer_config
from tests.captioner.layouts.chat import TEXT
from tests.captioner.layouts.files import change_json, write_json, write_saved
from tests.captioner.layouts.prefix import BLIP2_IMAGES, QUERIES, VISION
from tests.captioner.layouts.vocabularies import (
    outside_words,
    word_pieces,
    write_byte_level_tokenizer,
    write_sentence_pieces,
    write_unigram_tokenizer,
    write_word_piece_tokenizer,
)
from tests.captioner.layouts.weights import randomise


def write_instructblip(folder: Path, *, seed: int = 2) -> Path:
    """Salesforce/instructblip-vicuna-7b"""
    folder.mkdir(parents=True)
    vocabulary = write_byte_level_tokenizer(folder, ["<s>", "<pad>", "</s>", "<unk>"], ["<image>"])
    tokens = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}
    write_json(folder / "special_tokens_map.json", tokens)
    write_json(folder / "tokenizer_config.json", tokens | {
        "model_max_length": 512, "processor_class": "InstructBlipProcessor", "tokenizer_class": "GPT2Tokenizer",
    })  # fmt: skip
    text = TEXT | {
        "model_type": "llama", "vocab_size": len(vocabulary), "bos_token_id": 0, "eos_token_id": 2, "pad_token_id": 1,
    }  # fmt: skip
    model = _make_model(folder, text, vocabulary["<image>"])
    never = [number for number in outside_words(vocabulary) if number != 2]
    head, norm = model.language_model.lm_head, model.language_model.model.norm
    randomise(model, seed, end=2, never=never, head=head, last_norm=norm)
    _write(folder, model, bos_token_id=0, eos_token_id=2, pad_token_id=1)
    return folder


def write_instructblip_t5(folder: Path, *, seed: int = 2) -> Path:
    """Salesforce/instructblip-flan-t5-xl, saved by transformers 5, without `is_encoder_decoder`."""
    folder.mkdir(parents=True)
    first = ["<pad>", "</s>", "<unk>"]
    pieces = write_sentence_pieces(folder / "spiece.model", first=first)
    extra = ["<extra_id_0>", "<image>"]
    write_unigram_tokenizer(folder, [*pieces, *extra], special=first, added=extra, end_only=True)
    tokens = {"eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}
    write_json(folder / "special_tokens_map.json", tokens)
    write_json(folder / "tokenizer_config.json", tokens | {
        "extra_ids": 1, "model_max_length": 512, "processor_class": "InstructBlipProcessor",
        "tokenizer_class": "T5Tokenizer",
    })  # fmt: skip
    text = {
        "model_type": "t5", "vocab_size": len(pieces) + len(extra), "d_model": 64, "d_kv": 16, "d_ff": 128,
        "num_layers": 2, "num_decoder_layers": 2, "num_heads": 4, "feed_forward_proj": "gated-gelu",
        "tie_word_embeddings": False, "is_encoder_decoder": True, "decoder_start_token_id": 0, "pad_token_id": 0,
        "eos_token_id": 1,
    }  # fmt: skip
    model = _make_model(folder, text, len(pieces) + 1)
    never = [0, 2, len(pieces), len(pieces) + 1]
    randomise(model, seed, end=1, never=never, head=model.language_model.lm_head)
    _write(folder, model, decoder_start_token_id=0, eos_token_id=1, pad_token_id=0)
    return folder


def _make_model(folder: Path, text: dict[str, Any], image_token: int) -> InstructBlipForConditionalGeneration:
    """Write the queries' tokenizer, and return a model."""
    words = word_pieces()
    (folder / "qformer_tokenizer").mkdir()
    write_word_piece_tokenizer(folder / "qformer_tokenizer", words)
    names = ["input_ids", "attention_mask"]
    write_bert_tokenizer_config(folder / "qformer_tokenizer", "InstructBlipProcessor", names)
    # As published, the queries' vocabulary also covers the ids of the language model's.
    queries = QUERIES | {"vocab_size": max(len(words), text["vocab_size"])}
    config = InstructBlipConfig(
        text_config=text, qformer_config=queries, vision_config=VISION, num_query_tokens=4,
        image_token_index=image_token,
    )  # fmt: skip
    return InstructBlipForConditionalGeneration(config)


def _write(folder: Path, model: InstructBlipForConditionalGeneration, **generation: int) -> None:
    write_saved(folder, model, "4.47.0.dev0")
    change_json(folder / "generation_config.json", **generation)
    write_json(folder / "preprocessor_config.json", BLIP2_IMAGES | {"processor_class": "InstructBlipProcessor"})
    write_json(folder / "processor_config.json", {"num_query_tokens": 4, "processor_class": "InstructBlipProcessor"})
