"""Decoders that are BERT or RoBERTa, and BLIP, whose decoder is nearly BERT."""

from pathlib import Path
from typing import Any

import torch
from transformers import (
    BertConfig,
    BlipConfig,
    BlipForConditionalGeneration,
    RobertaConfig,
    VisionEncoderDecoderConfig,
    VisionEncoderDecoderModel,
)

from tests.captioner.layouts.files import dump, write_encoder_decoder, write_json, write_preprocessor
from tests.captioner.layouts.gpt2 import small_vit
from tests.captioner.layouts.trocr import write_roberta_tokenizer
from tests.captioner.layouts.vocabularies import outside_words, word_pieces, write_word_piece_tokenizer
from tests.captioner.layouts.weights import randomise, saved_tensors, write_pickled, write_safetensors

BERT_TOKENS = {
    "unk_token": "[UNK]", "sep_token": "[SEP]", "pad_token": "[PAD]", "cls_token": "[CLS]", "mask_token": "[MASK]"
}  # fmt: skip
CLIP_MEAN, CLIP_STD = [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]
SMALL_DECODER: dict[str, Any] = {
    "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 128,
    "is_decoder": True, "add_cross_attention": True,
}  # fmt: skip
CHARACTERS = "のにはをたがでてとしれさあるいもすからなこよりまだけそうわんっきちみつおやくえゆ人日本一大年月"


def write_manga_ocr(folder: Path, *, seed: int = 1) -> Path:
    """kha-white/manga-ocr-base: a Japanese BERT of characters, and a search that config.json describes."""
    folder.mkdir(parents=True)
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    characters = [*CHARACTERS, *("##" + character for character in CHARACTERS)]
    (folder / "vocab.txt").write_text("\n".join([*tokens, *characters, ""]))
    write_json(folder / "special_tokens_map.json", BERT_TOKENS, indent=None)
    write_json(folder / "tokenizer_config.json", BERT_TOKENS | {
        "do_lower_case": False, "do_word_tokenize": True, "do_subword_tokenize": True, "word_tokenizer_type": "mecab",
        "subword_tokenizer_type": "character", "never_split": None, "mecab_kwargs": {"mecab_dic": "unidic_lite"},
        "special_tokens_map_file": None, "name_or_path": "cl-tohoku/bert-base-japanese-char-v2",
        "tokenizer_class": "BertJapaneseTokenizer",
    }, indent=None)  # fmt: skip
    encoder = small_vit()
    decoder = BertConfig(**SMALL_DECODER, vocab_size=len(tokens) + len(characters), pad_token_id=0)
    model = VisionEncoderDecoderModel(VisionEncoderDecoderConfig.from_encoder_decoder_configs(encoder, decoder))
    _draw_bert(model.decoder.cls.predictions, model, seed, end=3, never=[0, 1, 2, 4])
    tensors = _bert_tensors(model, "decoder.bert.embeddings.word_embeddings.weight", "decoder.cls.predictions")
    tensors["decoder.bert.embeddings.position_ids"] = torch.arange(decoder.max_position_embeddings)[None]
    write_pickled(folder, tensors)
    write_encoder_decoder(
        folder, dump(encoder, "4.12.5"), dump(decoder, "4.12.5", is_decoder=True, add_cross_attention=True),
        decoder_start_token_id=2, early_stopping=True, eos_token_id=3, length_penalty=2.0, max_length=300,
        no_repeat_ngram_size=3, num_beams=4, pad_token_id=0, vocab_size=decoder.vocab_size,
    )  # fmt: skip
    write_preprocessor(folder, 64)
    return folder


def write_vit_roberta(folder: Path, *, seed: int = 4) -> Path:
    """A RoBERTa decoder, whose positions start after the padding token's id."""
    folder.mkdir(parents=True)
    vocabulary = write_roberta_tokenizer(folder)
    encoder = small_vit()
    decoder = RobertaConfig(
        **SMALL_DECODER, vocab_size=len(vocabulary), max_position_embeddings=130, type_vocab_size=1,
        layer_norm_eps=1e-5, bos_token_id=0, pad_token_id=1, eos_token_id=2,
    )  # fmt: skip
    model = VisionEncoderDecoderModel(VisionEncoderDecoderConfig.from_encoder_decoder_configs(encoder, decoder))
    head = model.decoder.lm_head
    never = [number for number in outside_words(vocabulary) if number != 2]
    randomise(model, seed, end=2, never=never, head=head.decoder, last_norm=head.layer_norm, gain=1.3, places=2.0)
    tensors = saved_tensors(model)
    tensors["decoder.lm_head.decoder.weight"] = tensors["decoder.roberta.embeddings.word_embeddings.weight"]
    tensors["decoder.lm_head.decoder.bias"] = tensors["decoder.lm_head.bias"]
    tensors["decoder.roberta.embeddings.position_ids"] = torch.arange(decoder.max_position_embeddings)[None]
    write_pickled(folder, tensors)
    write_encoder_decoder(
        folder, dump(encoder, "4.19.2"), dump(decoder, "4.19.2", is_decoder=True, add_cross_attention=True),
        decoder_start_token_id=0, eos_token_id=2, pad_token_id=1,
    )  # fmt: skip
    write_preprocessor(folder, 64)
    return folder


def write_vit_roberta_uncached(folder: Path, **options: Any) -> Path:
    """Write the padding token as start token, without a KV cache: the start token gets no position."""
    write_vit_roberta(folder, **options)
    tokens = {"decoder_start_token_id": 1, "eos_token_id": 2, "pad_token_id": 1}
    write_json(folder / "generation_config.json", tokens | {"use_cache": False})
    return folder


def _draw_bert(predictions: Any, model: Any, seed: int, *, end: int, never: list[int]) -> None:
    norm = predictions.transform.LayerNorm
    randomise(model, seed, end=end, never=never, head=predictions.decoder, last_norm=norm, gain=1.3, places=2.0)


def _bert_tensors(model: Any, words: str, head: str) -> dict[str, torch.Tensor]:
    """Return a BERT decoder's tensors, with the tied head stored as by transformers 4."""
    tensors = saved_tensors(model)
    tensors[f"{head}.decoder.weight"] = tensors[words]
    tensors[f"{head}.decoder.bias"] = tensors[f"{head}.bias"]
    return tensors


def write_blip(folder: Path, *, seed: int = 2, large: bool = False) -> Path:
    """Salesforce/blip-image-captioning-base, whose start token is beyond the tokenizer's vocabulary.

    The large model has a wider vision model, weights in both formats, and a newer preprocessor.
    """
    folder.mkdir(parents=True)
    words = word_pieces()
    write_word_piece_tokenizer(folder, words)
    write_bert_tokenizer_config(folder, "BlipProcessor", ["input_ids", "attention_mask"])
    start = len(words)
    text = {
        "vocab_size": start + 2, "hidden_size": 48, "encoder_hidden_size": 64 if large else 48,
        "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4, "bos_token_id": start,
        "eos_token_id": 2, "pad_token_id": 0, "sep_token_id": 102,
    }  # fmt: skip
    vision = {
        "hidden_size": text["encoder_hidden_size"], "intermediate_size": 96, "num_hidden_layers": 2,
        "num_attention_heads": 4, "image_size": 64, "patch_size": 16, "projection_dim": 512,
    }  # fmt: skip
    config = BlipConfig(text_config=text, vision_config=vision)
    model = BlipForConditionalGeneration(config)
    _draw_bert(
        model.text_decoder.cls.predictions,
        model,
        seed,
        end=102,
        never=[*range(102), *range(103, 118), start, start + 1],
    )
    tensors = _bert_tensors(
        model, "text_decoder.bert.embeddings.word_embeddings.weight", "text_decoder.cls.predictions"
    )
    if large:
        write_safetensors(folder, {name: tensor.clone() for name, tensor in tensors.items()})
    tensors["text_decoder.bert.embeddings.position_ids"] = torch.arange(config.text_config.max_position_embeddings)[
        None
    ]
    write_pickled(folder, tensors)
    version = "4.26.0.dev0"
    write_json(folder / "config.json", {
        "_commit_hash": None, "architectures": ["BlipForConditionalGeneration"], "image_text_hidden_size": 256,
        "initializer_factor": 1.0, "logit_scale_init_value": 2.6592, "model_type": "blip", "projection_dim": 512,
        "text_config": dump(config.text_config, version, **text), "torch_dtype": "float32",
        "transformers_version": None, "vision_config": dump(config.vision_config, version, **vision),
    })  # fmt: skip
    newer = {
        "do_pad": True, "do_rescale": True, "rescale_factor": 1 / 255, "size": {"height": 64, "width": 64},
        "size_divisor": 32,
    }  # fmt: skip
    write_json(folder / "preprocessor_config.json", {
        "do_normalize": True, "do_resize": True, "image_mean": CLIP_MEAN, "image_std": CLIP_STD,
        "image_processor_type": "BlipImageProcessor", "processor_class": "BlipProcessor", "resample": 3, "size": 64,
    } | (newer if large else {}))  # fmt: skip
    return folder


def write_blip_large(folder: Path, *, seed: int = 1) -> Path:
    """Salesforce/blip-image-captioning-large."""
    return write_blip(folder, seed=seed, large=True)


def write_bert_tokenizer_config(folder: Path, processor: str, inputs: list[str]) -> None:
    write_json(folder / "special_tokens_map.json", BERT_TOKENS)
    write_json(folder / "tokenizer_config.json", BERT_TOKENS | {
        "do_basic_tokenize": True, "do_lower_case": True, "model_input_names": inputs, "model_max_length": 512,
        "name_or_path": "bert-base-uncased", "never_split": None, "processor_class": processor,
        "special_tokens_map_file": None, "strip_accents": None, "tokenize_chinese_chars": True,
        "tokenizer_class": "BertTokenizer",
    })  # fmt: skip
