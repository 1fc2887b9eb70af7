"""Models whose prompt is a task: Kosmos-2, which can locate things, and Florence-2."""

from pathlib import Path

from transformers import (
    Florence2Config,
    Florence2ForConditionalGeneration,
    Kosmos2Config,
    Kosmos2ForConditionalGeneration,
)

from tests.captioner.layouts.bert import CLIP_MEAN, CLIP_STD
from tests.captioner.layouts.files import change_json, write_json, write_saved
from tests.captioner.layouts.prefix import VISION
from tests.captioner.layouts.trocr import ROBERTA_TOKENS
from tests.captioner.layouts.vocabularies import (
    ROBERTA_FIRST,
    outside_words,
    write_byte_level_tokenizer,
    write_sentence_pieces,
    write_unigram_tokenizer,
)
from tests.captioner.layouts.weights import randomise

GROUNDED = "<grounding>An image of"
CAPTION = "<CAPTION>"
TAGS = [
    "</doc>", "<image>", "</image>", "</chunk>", "</line>", "<phrase>", "</phrase>", "<object>", "</object>",
    "</delimiter_of_multi_objects/>", "<grounding>", *(f"<patch_index_{number:04}>" for number in range(1024)),
]  # fmt: skip
CLIP_PROCESSOR = {
    "crop_size": {"height": 64, "width": 64}, "do_center_crop": True, "do_convert_rgb": True, "do_normalize": True,
    "do_rescale": True, "do_resize": True, "image_mean": CLIP_MEAN, "image_processor_type": "CLIPImageProcessor",
    "image_std": CLIP_STD, "resample": 3, "rescale_factor": 1 / 255, "size": {"shortest_edge": 64},
}  # fmt: skip


def write_kosmos2(folder: Path, *, seed: int = 1) -> Path:
    """microsoft/kosmos-2-patch14-224: 64 image tokens in the decoder's text, and location tokens."""
    folder.mkdir(parents=True)
    words = write_sentence_pieces(folder / "sentencepiece.bpe.model")[3:]
    tokens = ["<s>", "<pad>", "</s>", "<unk>", *words, "<mask>", *TAGS]
    write_unigram_tokenizer(folder, tokens, special=["<s>", "<pad>", "</s>", "<unk>", "<mask>"], added=TAGS)
    write_json(folder / "special_tokens_map.json", ROBERTA_TOKENS)
    write_json(folder / "tokenizer_config.json", ROBERTA_TOKENS | {
        "model_max_length": 2048, "num_patch_index_tokens": 1024, "processor_class": "Kosmos2Processor",
        "sp_model_kwargs": {}, "tokenizer_class": "XLMRobertaTokenizer",
    })  # fmt: skip
    text = {
        "vocab_size": len(tokens), "embed_dim": 64, "layers": 2, "ffn_dim": 128, "attention_heads": 4,
        "max_position_embeddings": 512, "bos_token_id": 0, "pad_token_id": 1, "eos_token_id": 2,
    }  # fmt: skip
    config = Kosmos2Config(text_config=text, vision_config=VISION, latent_query_num=64)
    model = Kosmos2ForConditionalGeneration(config)
    never = [0, 1, 3, 4, *range(tokens.index("<mask>"), len(tokens))]
    norm = model.text_model.model.layer_norm
    randomise(model, seed, end=2, never=never, head=model.text_model.lm_head, last_norm=norm)
    write_saved(folder, model, "4.35.0.dev0")
    change_json(folder / "generation_config.json", bos_token_id=0, eos_token_id=2, pad_token_id=1)
    write_json(folder / "preprocessor_config.json", CLIP_PROCESSOR | {
        "feature_extractor_type": "CLIPFeatureExtractor", "processor_class": "Kosmos2Processor",
        "use_square_size": True,
    })  # fmt: skip
    return folder


def write_florence2(folder: Path, *, seed: int = 1) -> Path:
    """florence-community/Florence-2-base: DaViT, BART, and a task that the processor turns into a question."""
    folder.mkdir(parents=True)
    vocabulary = write_byte_level_tokenizer(folder, ROBERTA_FIRST, ["<mask>", "<image>"])
    write_json(folder / "special_tokens_map.json", ROBERTA_TOKENS | {"image_token": "<image>"})
    write_json(folder / "tokenizer_config.json", ROBERTA_TOKENS | {
        "add_prefix_space": False, "errors": "replace", "extra_special_tokens": {"image_token": "<image>"},
        "image_token": "<image>", "model_max_length": 1024, "processor_class": "Florence2Processor",
        "tokenizer_class": "BartTokenizer", "trim_offsets": True,
    })  # fmt: skip
    text = {
        "model_type": "bart", "vocab_size": len(vocabulary), "d_model": 64, "encoder_layers": 2, "decoder_layers": 2,
        "encoder_attention_heads": 4, "decoder_attention_heads": 4, "encoder_ffn_dim": 128, "decoder_ffn_dim": 128,
        "max_position_embeddings": 256, "bos_token_id": 0, "pad_token_id": 1, "eos_token_id": 2,
        "decoder_start_token_id": 2, "forced_bos_token_id": 0, "forced_eos_token_id": 2,
    }  # fmt: skip
    vision = {
        "depths": [1, 1, 1, 1], "embed_dim": [16, 16, 32, 64], "num_heads": [2, 2, 4, 4], "num_groups": [2, 2, 4, 4],
        "window_size": 2, "projection_dim": 64, "drop_path_rate": 0.0,
    }  # fmt: skip
    config = Florence2Config(
        text_config=text, vision_config=vision, image_token_id=vocabulary["<image>"], bos_token_id=0, eos_token_id=2,
        pad_token_id=1,
    )  # fmt: skip
    model = Florence2ForConditionalGeneration(config)
    body = model.model.language_model.decoder
    never = [number for number in outside_words(vocabulary) if number != 2]
    norm = body.layers[-1].final_layer_norm
    randomise(model, seed, end=2, never=never, head=model.lm_head, last_norm=norm, gain=1.3, places=2.0)
    write_saved(folder, model, "4.56.0.dev0")
    change_json(
        folder / "generation_config.json", bos_token_id=0, decoder_start_token_id=2, eos_token_id=2, pad_token_id=1,
        forced_bos_token_id=0, forced_eos_token_id=2, no_repeat_ngram_size=3, num_beams=3,
    )  # fmt: skip
    write_json(folder / "preprocessor_config.json", CLIP_PROCESSOR | {
        "do_center_crop": False, "image_seq_length": 5, "processor_class": "Florence2Processor",
        "size": {"height": 64, "width": 64},
    })  # fmt: skip
    rules = {"ocr": {"pattern": r"(.+?)<loc_(\d+)>", "area_threshold": 0.0}, "pure_text": {}}
    content = {
        "num_additional_image_tokens": 0,
        "post_processor_config": rules,
        "processor_class": "Florence2Processor",
    }
    write_json(folder / "processor_config.json", content)
    return folder
