"""Models that read the image as a prefix of the text or through T5-like attention: GIT, Pix2Struct, BLIP-2."""

from pathlib import Path

import torch
from transformers import (
    Blip2Config,
    Blip2ForConditionalGeneration,
    GitConfig,
    GitForCausalLM,
    Pix2StructConfig,
    Pix2StructForConditionalGeneration,
)

from tests.captioner.layouts.bert import CLIP_MEAN, CLIP_STD, write_bert_tokenizer_config
from tests.captioner.layouts.files import dump, own_keys, write_json, write_saved
from tests.captioner.layouts.vocabularies import (
    outside_words,
    word_pieces,
    write_byte_level_tokenizer,
    write_sentence_pieces,
    write_unigram_tokenizer,
    write_word_piece_tokenizer,
)
from tests.captioner.layouts.weights import randomise, saved_tensors, write_pickled

VISION = {
    "hidden_size": 48, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4, "image_size": 64,
    "patch_size": 16,
}  # fmt: skip
QUERIES = {
    "hidden_size": 48, "encoder_hidden_size": 48, "intermediate_size": 96, "num_hidden_layers": 2,
    "num_attention_heads": 4,
}  # fmt: skip
BLIP2_IMAGES = {
    "do_convert_rgb": True, "do_normalize": True, "do_rescale": True, "do_resize": True, "image_mean": CLIP_MEAN,
    "image_processor_type": "BlipImageProcessor", "image_std": CLIP_STD, "resample": 3, "rescale_factor": 1 / 255,
    "size": {"height": 64, "width": 64},
}  # fmt: skip


def write_git(folder: Path, *, seed: int = 0) -> Path:
    """microsoft/git-base-coco: no cross-attention, an untied head."""
    folder.mkdir(parents=True)
    words = word_pieces()
    write_word_piece_tokenizer(folder, words)
    write_bert_tokenizer_config(folder, "GitProcessor", ["input_ids", "attention_mask", "pixel_values"])
    version = "4.26.0.dev0"
    config = GitConfig(
        vision_config=VISION, vocab_size=len(words), hidden_size=64, num_hidden_layers=2, num_attention_heads=4,
        intermediate_size=128, max_position_embeddings=1024, bos_token_id=101, eos_token_id=102, pad_token_id=0,
    )  # fmt: skip
    model = GitForCausalLM(config)
    never = [*range(102), *range(103, 118)]
    randomise(model, seed, end=102, never=never, head=model.output, gain=1.3, places=2.0)
    tensors = saved_tensors(model)
    tensors["git.embeddings.position_ids"] = torch.arange(1024)[None]
    count = (VISION["image_size"] // VISION["patch_size"]) ** 2 + 1
    tensors["git.image_encoder.vision_model.embeddings.position_ids"] = torch.arange(count)[None]
    write_pickled(folder, tensors)
    ids = {"bos_token_id": 101, "eos_token_id": 102, "pad_token_id": 0}
    write_json(folder / "config.json", own_keys(config) | ids | {
        "architectures": ["GitForCausalLM"], "classifier_dropout": None, "position_embedding_type": "absolute",
        "num_image_with_embedding": None, "tie_word_embeddings": False, "torch_dtype": "float32",
        "transformers_version": None, "vision_config": dump(config.vision_config, version, projection_dim=512),
    })  # fmt: skip
    stamp = {"_from_model_config": True, "transformers_version": "4.27.0.dev0"}
    write_json(folder / "generation_config.json", stamp | ids)
    write_json(folder / "preprocessor_config.json", {
        "crop_size": {"height": 64, "width": 64}, "do_center_crop": True, "do_convert_rgb": True, "do_normalize": True,
        "do_rescale": True, "do_resize": True, "image_mean": CLIP_MEAN, "image_processor_type": "CLIPImageProcessor",
        "image_std": CLIP_STD, "processor_class": "GitProcessor", "resample": 3, "rescale_factor": 1 / 255,
        "size": {"shortest_edge": 64},
    })  # fmt: skip
    return folder


def write_pix2struct(folder: Path, *, seed: int = 1) -> Path:
    """google/pix2struct-textcaps-base: patches of variable size with a mask, T5's tokenizer."""
    folder.mkdir(parents=True)
    first = ["<pad>", "</s>", "<unk>"]
    pieces = write_sentence_pieces(folder / "spiece.model", first=first)
    write_unigram_tokenizer(folder, pieces, special=first, added=[], end_only=True)
    tokens = {"eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}
    write_json(folder / "special_tokens_map.json", tokens)
    write_json(folder / "tokenizer_config.json", tokens | {
        "additional_special_tokens": [], "extra_ids": 0, "model_max_length": 1000, "sp_model_kwargs": {},
        "processor_class": "Pix2StructProcessor", "special_tokens_map_file": None, "tokenizer_class": "T5Tokenizer",
    })  # fmt: skip
    text = {
        "vocab_size": len(pieces), "hidden_size": 64, "d_kv": 16, "d_ff": 128, "num_layers": 2, "num_heads": 4,
        "decoder_start_token_id": 0, "pad_token_id": 0, "eos_token_id": 1,
    }  # fmt: skip
    vision = {
        "hidden_size": 64, "patch_embed_hidden_size": 3 * 8 * 8, "d_ff": 128, "d_kv": 16, "num_hidden_layers": 2,
        "num_attention_heads": 4, "seq_len": 64,
    }  # fmt: skip
    config = Pix2StructConfig(text_config=text, vision_config=vision, tie_word_embeddings=False)
    model = Pix2StructForConditionalGeneration(config)
    head = model.decoder.lm_head
    randomise(model, seed, end=1, never=[0, 2, 3], head=head)
    write_saved(folder, model, "4.28.0.dev0")
    write_json(folder / "preprocessor_config.json", {
        "do_convert_rgb": True, "do_normalize": True, "image_processor_type": "Pix2StructImageProcessor",
        "is_vqa": False, "max_patches": 48, "patch_size": {"height": 8, "width": 8},
        "processor_class": "Pix2StructProcessor",
    })  # fmt: skip
    return folder


def write_blip2(folder: Path, *, seed: int = 2) -> Path:
    """Salesforce/blip2-opt-2.7b: queries between the image and OPT."""
    folder.mkdir(parents=True)
    vocabulary = write_byte_level_tokenizer(folder, ["<s>", "<pad>", "</s>", "<unk>"], ["<image>"])
    tokens = {"bos_token": "</s>", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "</s>"}
    write_json(folder / "special_tokens_map.json", tokens)
    write_json(folder / "tokenizer_config.json", tokens | {
        "add_bos_token": True, "add_prefix_space": False, "errors": "replace", "model_max_length": 512,
        "processor_class": "Blip2Processor", "tokenizer_class": "GPT2Tokenizer",
    })  # fmt: skip
    text = {
        "model_type": "opt", "vocab_size": len(vocabulary), "hidden_size": 64, "word_embed_proj_dim": 64,
        "ffn_dim": 128, "num_hidden_layers": 2, "num_attention_heads": 4, "max_position_embeddings": 512,
        "bos_token_id": 2, "eos_token_id": 2, "pad_token_id": 1,
    }  # fmt: skip
    config = Blip2Config(
        text_config=text, qformer_config=QUERIES | {"vocab_size": 100}, vision_config=VISION, num_query_tokens=4,
        image_token_index=vocabulary["<image>"],
    )  # fmt: skip
    model = Blip2ForConditionalGeneration(config)
    body = model.language_model.model.decoder
    never = [number for number in outside_words(vocabulary) if number != 2]
    randomise(model, seed, end=2, never=never, head=model.language_model.lm_head, last_norm=body.final_layer_norm)
    write_saved(folder, model, "4.47.0.dev0")
    write_json(folder / "preprocessor_config.json", BLIP2_IMAGES | {"processor_class": "Blip2Processor"})
    write_json(folder / "processor_config.json", {"num_query_tokens": 4, "processor_class": "Blip2Processor"})
    return folder
