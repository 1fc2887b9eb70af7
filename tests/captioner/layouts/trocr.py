"""TrOCR: an image encoder and a decoder like BART's, as saved by transformers 4.12."""

from pathlib import Path
from typing import Any

from transformers import (
    DeiTConfig,
    PreTrainedConfig,
    TrOCRConfig,
    VisionEncoderDecoderConfig,
    VisionEncoderDecoderModel,
)

from tests.captioner.layouts.files import dump, write_encoder_decoder, write_json, write_preprocessor
from tests.captioner.layouts.gpt2 import SMALL, small_vit
from tests.captioner.layouts.vocabularies import (
    ROBERTA_FIRST,
    byte_pair_vocabulary,
    outside_words,
    write_byte_pairs,
    write_sentence_pieces,
)
from tests.captioner.layouts.weights import randomise, saved_tensors, write_pickled

VERSION = "4.12.0.dev0"
ROBERTA_TOKENS = {
    "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "sep_token": "</s>", "pad_token": "<pad>",
    "cls_token": "<s>", "mask_token": "<mask>",
}  # fmt: skip
END = 2


def token_entries(**also: Any) -> dict[str, dict[str, Any]]:
    """Return RoBERTa's special tokens as objects, like transformers 4."""
    return {
        name: {
            "content": text, "single_word": False, "lstrip": name == "mask_token", "rstrip": False,
            "normalized": True, **also,
        }
        for name, text in ROBERTA_TOKENS.items()
    }  # fmt: skip


def write_roberta_tokenizer(folder: Path) -> dict[str, int]:
    """Write vocab.json and merges.txt without tokenizer.json. Return the vocabulary."""
    made_up = [f"madeupword{number:04}" for number in range(3)]
    vocabulary, merges = byte_pair_vocabulary(180, ROBERTA_FIRST, [*made_up, "<mask>"])
    write_byte_pairs(folder, vocabulary, merges)
    write_json(folder / "special_tokens_map.json", token_entries(), indent=None)
    config = {
        "errors": "replace", "add_prefix_space": False, "trim_offsets": True, "special_tokens_map_file": None,
        "name_or_path": "roberta-large", "tokenizer_class": "RobertaTokenizer",
    }  # fmt: skip
    write_json(folder / "tokenizer_config.json", config | token_entries(__type="AddedToken"), indent=None)
    return vocabulary


def small_decoder(vocabulary: int, encoder: PreTrainedConfig, **changes: Any) -> TrOCRConfig:
    known = {
        "vocab_size": vocabulary, "d_model": 64, "decoder_layers": 2, "decoder_attention_heads": 4,
        "decoder_ffn_dim": 128, "max_position_embeddings": 512, "activation_function": "gelu",
        "scale_embedding": False, "cross_attention_hidden_size": encoder.hidden_size, "is_decoder": True,
        "add_cross_attention": True, "use_cache": False,
    }  # fmt: skip
    return TrOCRConfig(**(known | changes))


def write_trocr(
    folder: Path, encoder: PreTrainedConfig, decoder: TrOCRConfig, never: list[int], seed: int, **drawing: Any
) -> Path:
    """Write a checkpoint without the tokenizer and the encoder pooler's weights."""
    model = VisionEncoderDecoderModel(VisionEncoderDecoderConfig.from_encoder_decoder_configs(encoder, decoder))
    norm = model.decoder.model.decoder.layers[-1].final_layer_norm
    randomise(
        model,
        seed,
        end=END,
        never=never,
        head=model.decoder.output_projection,
        last_norm=norm,
        **({"gain": 1.3, "places": 2.0} | drawing),
    )
    tensors = {name: tensor for name, tensor in saved_tensors(model).items() if ".pooler." not in name}
    tensors.setdefault("decoder.output_projection.weight", tensors["decoder.model.decoder.embed_tokens.weight"])
    write_pickled(folder, tensors)
    old_decoder = dump(
        decoder, VERSION, is_decoder=True, add_cross_attention=True, classifier_dropout=0.0,
        cross_attention_hidden_size=decoder.cross_attention_hidden_size,
    )  # fmt: skip
    write_encoder_decoder(folder, dump(encoder, VERSION), old_decoder)
    write_preprocessor(folder, 64)
    write_json(folder / "generation_config.json", {
        "_from_model_config": True, "bos_token_id": 0, "decoder_start_token_id": 2, "eos_token_id": 2,
        "pad_token_id": 1, "transformers_version": "4.27.0.dev0", "use_cache": False,
    })  # fmt: skip
    return folder


def write_trocr_base(folder: Path, *, seed: int = 2, **changes: Any) -> Path:
    """microsoft/trocr-base-printed: RoBERTa's slow tokenizer, an encoder without query, key and value biases."""
    folder.mkdir(parents=True)
    vocabulary = write_roberta_tokenizer(folder)
    encoder = small_vit(qkv_bias=False)
    never = [number for number in outside_words(vocabulary) if number != END]
    return write_trocr(folder, encoder, small_decoder(len(vocabulary), encoder, **changes), never, seed)


def write_trocr_sinusoidal(folder: Path, *, seed: int = 1) -> Path:
    """Sinusoidal positions, which are in no file, and no embedding norm."""
    return write_trocr_base(folder, seed=seed, use_learned_position_embeddings=False, layernorm_embedding=False)


def write_trocr_small(folder: Path, *, seed: int = 10) -> Path:
    """microsoft/trocr-small-handwritten: DeiT, relu, scaled embedding, sentencepiece, a head of spare tokens."""
    folder.mkdir(parents=True)
    pieces = write_sentence_pieces(folder / "sentencepiece.bpe.model")
    write_json(folder / "special_tokens_map.json", token_entries(), indent=None)
    config = {
        "special_tokens_map_file": None, "name_or_path": "xlm-roberta-base", "sp_model_kwargs": {},
        "tokenizer_class": "XLMRobertaTokenizer",
    }  # fmt: skip
    write_json(folder / "tokenizer_config.json", config | token_entries(__type="AddedToken"), indent=None)
    encoder = DeiTConfig(**(SMALL | {"image_size": 64, "patch_size": 16}))
    known = len(pieces) + 2  # the file's pieces, <pad> before and <mask> after them
    decoder = small_decoder(
        known + 40, encoder, activation_function="relu", scale_embedding=True, tie_word_embeddings=False
    )
    never = [0, 1, 3, *range(known - 1, known + 40)]
    write_trocr(folder, encoder, decoder, never, seed)
    write_preprocessor(folder, 64, "DeiTFeatureExtractor", crop_size=60, do_center_crop=False, resample=3)
    return folder
