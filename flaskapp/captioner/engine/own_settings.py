"""A checkpoint's own generation configuration, checked at load, so that a wrong value does not fail each caption."""

from collections.abc import Mapping
from typing import Any

from flaskapp.captioner.engine.defaults import as_ids
from flaskapp.errors import UnusableCheckpoint

# Settings that must be numbers, also if only some requests use them.
INTEGERS = (
    "max_length", "max_new_tokens", "min_length", "min_new_tokens", "no_repeat_ngram_size", "num_beams",
    "num_return_sequences", "top_k",
)  # fmt: skip
NUMBERS = ("length_penalty", "repetition_penalty", "temperature", "top_p")
POSITIVE = ("num_beams", "repetition_penalty")

# Models whose `generate` calls that of an inner model, with the inner model's configuration.
INNER_MODELS = {
    "blip": "text_decoder", "blip-2": "language_model", "instructblip": "language_model",
    "instructblipvideo": "language_model", "kosmos-2": "text_model",
}  # fmt: skip


def own_configuration(model: Any) -> dict[str, Any]:
    """Return the generation configuration that a model's `generate` uses."""
    model_type = model.config.model_type
    inner = getattr(model, INNER_MODELS[model_type]) if model_type in INNER_MODELS else model
    own: dict[str, Any] = inner.generation_config.to_dict()
    if model_type == "blip":  # its `generate` passes these
        text = model.config.text_config
        own |= {"eos_token_id": text.sep_token_id, "pad_token_id": text.pad_token_id}
    return own


def check_settings(own: Mapping[str, Any], vocabulary: int) -> None:
    """Raise UnusableCheckpoint, which names the setting, for values that fail captions.

    `own` is the configuration, from `GenerationConfig.to_dict`. The decoder has `vocabulary` tokens.
    """
    for name in (*INTEGERS, *NUMBERS):
        kind = int if name in INTEGERS else int | float
        value = own.get(name)
        if value is not None and (isinstance(value, bool) or not isinstance(value, kind)):
            raise UnusableCheckpoint(f"its {name} is not a number of the right type: {value!r}")
        if value is not None and name in POSITIVE and value <= 0:
            raise UnusableCheckpoint(f"its {name} is not greater than 0: {value!r}")
    _check_tokens(own, vocabulary)


def _check_tokens(own: Mapping[str, Any], vocabulary: int) -> None:
    ends = as_ids(own.get("eos_token_id"))
    bad_words = [list(words) for words in own.get("bad_words_ids") or ()]
    used = {
        "forced_bos_token_id": as_ids(own.get("forced_bos_token_id")),
        "forced_eos_token_id": as_ids(own.get("forced_eos_token_id")),
        "bad_words_ids": [token for words in bad_words if words not in [[end] for end in ends] for token in words],
    }
    for name, tokens in used.items():
        if outside := [token for token in tokens if token not in range(vocabulary)]:
            raise UnusableCheckpoint(
                f"its {name} has {outside[0]}, which is not one of the decoder's {vocabulary} tokens"
            )
