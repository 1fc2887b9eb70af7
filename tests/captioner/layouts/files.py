"""JSON files of checkpoints, with the keys of the transformers releases that saved them."""

import json
from pathlib import Path
from typing import Any

from transformers import PreTrainedConfig

# Keys that a configuration's `to_dict` wrote besides the model's own, up to 4.16, and keys of later releases.
EVERY_DUMP: dict[str, Any] = {
    "_name_or_path": "", "add_cross_attention": False, "architectures": None, "bad_words_ids": None,
    "bos_token_id": None, "chunk_size_feed_forward": 0, "cross_attention_hidden_size": None,
    "decoder_start_token_id": None, "diversity_penalty": 0.0, "do_sample": False, "early_stopping": False,
    "encoder_no_repeat_ngram_size": 0, "eos_token_id": None, "finetuning_task": None, "forced_bos_token_id": None,
    "forced_eos_token_id": None, "id2label": {"0": "LABEL_0", "1": "LABEL_1"}, "is_decoder": False,
    "is_encoder_decoder": False, "label2id": {"LABEL_0": 0, "LABEL_1": 1}, "length_penalty": 1.0, "max_length": 20,
    "min_length": 0, "no_repeat_ngram_size": 0, "num_beam_groups": 1, "num_beams": 1, "num_return_sequences": 1,
    "output_attentions": False, "output_hidden_states": False, "output_scores": False, "pad_token_id": None,
    "prefix": None, "problem_type": None, "pruned_heads": {}, "remove_invalid_values": False,
    "repetition_penalty": 1.0, "return_dict": True, "return_dict_in_generate": False, "sep_token_id": None,
    "task_specific_params": None, "temperature": 1.0, "tie_encoder_decoder": False, "tie_word_embeddings": True,
    "tokenizer_class": None, "top_k": 50, "top_p": 1.0, "torch_dtype": None, "torchscript": False,
    "use_bfloat16": False,
}  # fmt: skip
LATER_DUMPS: list[tuple[int, dict[str, Any]]] = [
    (17, {"typical_p": 1.0}),
    (19, {"exponential_decay_length_penalty": None}),
    (22, {"tf_legacy_loss": False}),
    (24, {"begin_suppress_tokens": None, "suppress_tokens": None}),
]
# Keys that only later releases of transformers wrote.
NEW_KEYS = {"dtype", "transformers_version", "pooler_act", "pooler_output_size", "cross_attention_hidden_size"}


def write_json(path: Path, content: Any, *, indent: int | None = 2) -> None:
    path.write_text(json.dumps(content, indent=indent, ensure_ascii=False) + "\n")


def change_json(path: Path, **changes: Any) -> None:
    """Set keys of a JSON file."""
    write_json(path, json.loads(path.read_text()) | changes)


def own_keys(config: PreTrainedConfig) -> dict[str, Any]:
    """Return the model's own keys of a configuration, without generation settings and general keys."""
    general = PreTrainedConfig().to_dict().keys() | NEW_KEYS
    known = {name: value for name, value in config.to_dict().items() if name not in general}
    return known | {"model_type": config.model_type}


def dump(config: PreTrainedConfig, version: str, **changes: Any) -> dict[str, Any]:
    """Return what transformers 4.x wrote for a nested configuration: every key with its default."""
    minor = int(version.split(".")[1])
    general = dict(EVERY_DUMP, transformers_version=version)
    for since, keys in LATER_DUMPS:
        if minor >= since:
            general |= keys
    special = {
        name: getattr(config, name)
        for name in ("bos_token_id", "eos_token_id", "pad_token_id", "decoder_start_token_id")
        if getattr(config, name, None) is not None
    }
    own = own_keys(config)
    if minor < 17:
        own.pop("encoder_stride", None)
    return dict(sorted((general | own | special | changes).items()))


def write_encoder_decoder(folder: Path, encoder: dict[str, Any], decoder: dict[str, Any], **changes: Any) -> None:
    """Write config.json of a VisionEncoderDecoderModel like transformers 4.x."""
    content = {
        "architectures": ["VisionEncoderDecoderModel"], "decoder": decoder, "encoder": encoder,
        "is_encoder_decoder": True, "model_type": "vision-encoder-decoder", "tie_word_embeddings": False,
        "torch_dtype": "float32", "transformers_version": None,
    }  # fmt: skip
    write_json(folder / "config.json", dict(sorted((content | changes).items())))


def write_preprocessor(folder: Path, size: Any, kind: str = "ViTFeatureExtractor", **changes: Any) -> None:
    """Write a feature extractor's preprocessor_config.json, without rescaling keys as up to transformers 4.25."""
    content = {
        "do_normalize": True, "do_resize": True, "feature_extractor_type": kind, "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.5, 0.5, 0.5], "resample": 2, "size": size,
    }  # fmt: skip
    write_json(folder / "preprocessor_config.json", dict(sorted((content | changes).items())))


def write_saved(folder: Path, model: Any, version: str) -> None:
    """Save like transformers 4.40 to 4.57: config.json and generation_config.json with only non-default values."""
    model.save_pretrained(folder)
    config = folder / "config.json"
    content = json.loads(config.read_text())
    content["torch_dtype"] = content.pop("dtype", "float32")
    write_json(config, content | {"transformers_version": version})
    change_json(folder / "generation_config.json", _from_model_config=True, transformers_version=version)
