"""Merges a request's settings with a checkpoint's generation configuration, and chooses the fast decoder or `generate`.

A setting needs `generate` only if it has an effect on this request: the presence of a key never decides. Old
checkpoints contain dumps of values that have no effect.

Reference: transformers/generation/utils.py (`generate`, `_get_logits_processor`, `_prepare_generated_length`).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from flaskapp.captioner.generation import MIN_RANDOMNESS, Generation, GenerationSettings
from flaskapp.errors import InvalidGeneration

Values = Mapping[str, Any]

# transformers' defaults, for settings that neither the request nor the checkpoint has.
DEFAULTS: Values = {
    "min_length": 0, "do_sample": False, "early_stopping": False, "num_beams": 1, "temperature": 1.0, "top_k": 50,
    "top_p": 1.0, "repetition_penalty": 1.0, "length_penalty": 1.0, "no_repeat_ngram_size": 0,
    "num_return_sequences": 1,
}  # fmt: skip
DEFAULT_NEW_TOKENS = 20

# Settings that the fast decoder supports.
SUPPORTED = frozenset(DEFAULTS) | {
    "bad_words_ids", "begin_suppress_tokens", "bos_token_id", "decoder_start_token_id", "eos_token_id",
    "forced_bos_token_id", "forced_eos_token_id", "max_length", "max_new_tokens", "min_new_tokens", "pad_token_id",
    "suppress_tokens",
}  # fmt: skip

# Settings that change no token: further outputs, caches, compilation, and options of modes that are off.
# Also remove_invalid_values: a logit that is not finite fails the caption here.
WITHOUT_EFFECT = frozenset((
    "_from_model_config", "assistant_confidence_threshold", "assistant_ensemble_weight", "assistant_lookbehind",
    "cache_config", "cache_implementation", "compile_config", "continuous_batching_config", "disable_compile",
    "is_assistant", "low_memory", "max_cache_len", "max_matching_ngram_size", "num_assistant_tokens",
    "num_assistant_tokens_schedule", "output_attentions", "output_hidden_states", "output_logits", "output_scores",
    "prefill_chunk_size", "remove_invalid_values", "return_dict_in_generate", "speculation_type", "target_lookbehind",
    "transformers_version", "use_cache",
))  # fmt: skip


def _samples(values: Values) -> bool:
    return bool(values["do_sample"])


def _searches(values: Values) -> bool:
    return bool(values["num_beams"] > 1)


def _is_greedy(values: Values) -> bool:
    return not _samples(values) and not _searches(values)


# Settings that the fast decoder does not support, and whether a value has an effect. None never has one.
EFFECTS: Mapping[str, Callable[[Any, Values], bool]] = {
    "assistant_early_exit": lambda _, values: not _searches(values),
    "constraints": lambda value, _: bool(value),
    "diversity_penalty": lambda value, values: value != 0 and _searches(values) and _is_grouped(values),
    "dola_layers": lambda _, values: not _searches(values),
    "encoder_no_repeat_ngram_size": lambda value, values: value > 0 and values["has_text_input"],
    "encoder_repetition_penalty": lambda value, values: value != 1 and values["has_text_input"],
    "epsilon_cutoff": lambda value, values: 0 < value < 1 and _samples(values),
    "eta_cutoff": lambda value, values: 0 < value < 1 and _samples(values),
    "exponential_decay_length_penalty": lambda value, values: bool(value) and values["eos_token_id"] is not None,
    "force_words_ids": lambda value, _: bool(value),
    "guidance_scale": lambda value, _: value != 1,
    "max_time": lambda _, __: True,
    "min_p": lambda value, values: value > 0 and _samples(values),
    "num_beam_groups": lambda value, values: value > 1 and _searches(values),
    "penalty_alpha": lambda value, values: value > 0 and _is_greedy(values) and values["top_k"] > 1,
    "prompt_lookup_num_tokens": lambda _, values: not _searches(values),
    "renormalize_logits": lambda value, values: bool(value) and not _is_greedy(values),
    "sequence_bias": lambda value, _: bool(value),
    "stop_strings": lambda value, _: bool(value),
    "token_healing": lambda value, _: bool(value),
    "top_h": lambda _, values: _samples(values),
    "typical_p": lambda value, values: value < 1 and _samples(values),
    "use_mtp": lambda value, values: bool(value) and not _searches(values),
    "watermarking_config": lambda value, _: bool(value),
}


# Searches that transformers 5 moved to code on the hub, which is never run here.
MOVED = {
    "constraints": "constrained beam search", "dola_layers": "DoLa", "force_words_ids": "constrained beam search",
    "num_beam_groups": "group beam search", "penalty_alpha": "contrastive search",
}  # fmt: skip


def _is_grouped(values: Values) -> bool:
    return (values.get("num_beam_groups") or 1) > 1


@dataclass(frozen=True, kw_only=True)
class GenerationDefaults:
    """A checkpoint's generation configuration, with the server's settings and the model's limits."""

    own: Values  # the checkpoint's configuration, from `GenerationConfig.to_dict`
    pinned: GenerationSettings  # the server's settings, which override the checkpoint's
    start: tuple[int, ...]  # the decoder's input without a prompt
    positions: int | None  # most tokens of a sequence; None: unknown
    encode_prompt: Callable[[str], tuple[int, ...]] | None  # None: the model takes no text
    default_prompt: str | None = None
    needed_prompt: str | None = None  # an example, if the model needs a prompt and has no default one
    prompt_counts: bool = True  # whether max_length counts the prompt's tokens; false for a chat
    has_text_input: bool = False  # whether `generate` also treats the prompt as the encoder's input
    no_fast_decoder: str | None = None  # why the fast decoder does not support the model

    @property
    def effective(self) -> Generation:
        """The generation of a request without settings."""
        return self.resolve(GenerationSettings())

    def resolve(self, settings: GenerationSettings) -> Generation:
        """Merge a request's settings with the defaults. Raise InvalidGeneration for settings beyond this model."""
        own = settings.prompt if self.encode_prompt is not None or not settings.is_lenient else None
        prompts = (own, self.pinned.prompt, self.default_prompt)
        prompt = next((each for each in prompts if each), None)  # an empty prompt counts as none
        prompt_ids = self._prompt_ids(prompt)
        given = self._given(settings, len(prompt_ids))
        values = dict(DEFAULTS) | {name: value for name, value in self.own.items() if value is not None} | given
        values |= {"has_text_input": self.has_text_input, "eos_token_id": self.own.get("eos_token_id")}
        values["num_return_sequences"] = self._return_sequences(values, settings)
        if settings.is_lenient and not (values["do_sample"] and values["num_beams"] == 1):
            values["num_beams"] = given["num_beams"] = max(values["num_beams"], values["num_return_sequences"])
        _check_search(values)
        _check_randomness(given, values)
        max_length = self._max_length(values, settings, len(prompt_ids))
        return Generation(
            prompt=prompt,
            prompt_ids=prompt_ids,
            max_length=max_length,
            min_length=self._min_length(values, settings, len(prompt_ids), max_length),
            seed=settings.seed,
            scores=settings.scores,
            **{name: values[name] for name in DEFAULTS if name != "min_length"},
            **self._tokens(values),
            arguments=self._arguments(given, values),
            fallback=self.no_fast_decoder or _unsupported(values),
            is_alone=_is_alone(values, settings.seed),
        )

    def _prompt_ids(self, prompt: str | None) -> tuple[int, ...]:
        if prompt is None and self.needed_prompt is not None:
            raise InvalidGeneration("prompt", f"This model needs a prompt, such as {self.needed_prompt!r}.")
        if prompt is None:
            return self.start
        if self.encode_prompt is None:
            raise InvalidGeneration("prompt", "This model takes no text.")
        ids = self.encode_prompt(prompt)
        if self.positions is not None and len(ids) >= self.positions:
            most = self.positions - len(self.start) - 1
            raise InvalidGeneration("prompt", f"Must have at most {most} tokens, for this model.")
        return ids

    def _given(self, settings: GenerationSettings, prompt: int) -> dict[str, Any]:
        """Return the arguments of `generate` that the request and the server set."""
        given = settings.over(self.pinned).given()
        if not self.prompt_counts and "max_length" in given:
            given.setdefault("max_new_tokens", given.pop("max_length"))
        if "max_new_tokens" in given:
            given.pop("max_length", None)
        elif "max_length" in given and self._exceeds(given["max_length"], prompt):
            given["max_new_tokens"] = None  # in `generate`, the checkpoint's would override the request's max_length
        return given

    def _exceeds(self, max_length: int, prompt: int) -> bool:
        """Whether the checkpoint's `max_new_tokens` allows more tokens. A stricter one stays, as in `generate`."""
        own = self.own.get("max_new_tokens")
        return own is not None and own + prompt > max_length

    @staticmethod
    def _return_sequences(values: Values, settings: GenerationSettings) -> int:
        wanted = int(values["num_return_sequences"])
        if settings.num_return_sequences is None and not (values["do_sample"] and values["num_beams"] == 1):
            return min(wanted, int(values["num_beams"]))  # the request may have fewer beams than the checkpoint
        return wanted

    def _max_length(self, values: Values, settings: GenerationSettings, prompt: int) -> int:
        if values.get("max_new_tokens") is not None:
            field, length = "max_new_tokens", values["max_new_tokens"] + prompt
        else:
            field, length = "max_length", values.get("max_length") or DEFAULT_NEW_TOKENS + prompt
        if self.positions is not None and length > self.positions:
            if getattr(settings, field) is not None and not settings.is_lenient:
                most = self.positions - (prompt if field == "max_new_tokens" else 0)
                raise InvalidGeneration(field, f"Must not be more than {most}, the positions of this model.")
            return self.positions
        return int(length)

    @staticmethod
    def _min_length(values: Values, settings: GenerationSettings, prompt: int, max_length: int) -> int:
        least = int(values["min_length"])
        if (new := values.get("min_new_tokens")) is not None:
            least = int(new) + prompt  # replaces min_length, as in `generate`
        return least if settings.min_length is not None else min(least, max_length)

    @staticmethod
    def _tokens(values: Values) -> dict[str, Any]:
        """The settings that name tokens, as tuples."""
        ends = as_ids(values["eos_token_id"])
        bad_words = tuple(tuple(words) for words in values.get("bad_words_ids") or ())
        return {
            "eos_token_ids": ends,
            "forced_bos_token_id": values.get("forced_bos_token_id"),
            "forced_eos_token_ids": as_ids(values.get("forced_eos_token_id")),
            "bad_words_ids": tuple(words for words in bad_words if words not in {(end,) for end in ends}),
            "suppress_tokens": as_ids(values.get("suppress_tokens")),
            "begin_suppress_tokens": as_ids(values.get("begin_suppress_tokens")),
        }

    @staticmethod
    def _arguments(given: Mapping[str, Any], values: Values) -> tuple[tuple[str, Any], ...]:
        """Return the arguments of `generate` that have an effect: it warns about the others."""
        idle: set[str] = set()
        if not _samples(values):
            idle |= {"temperature", "top_k", "top_p"}
        if not _searches(values):
            idle |= {"length_penalty", "early_stopping"}
        arguments = {name: value for name, value in given.items() if name not in idle}
        arguments["num_return_sequences"] = values["num_return_sequences"]
        return tuple(sorted(arguments.items()))


def as_ids(tokens: int | Sequence[int] | None) -> tuple[int, ...]:
    """A token id, several or none -> a tuple."""
    if tokens is None:
        return ()
    ids = (tokens,) if isinstance(tokens, int) else tuple(tokens)
    if not all(isinstance(token, int) for token in ids):
        raise TypeError(f"{tokens!r} are no token ids")
    return ids


def _is_alone(values: Values, seed: int | None) -> bool:
    """Whether the image needs a batch of its own.

    A seed repeats its draw only alone. In a batch, `generate` pads a caption that ended at a stop string, and nothing
    marks where the padding starts.
    """
    return bool(values.get("stop_strings")) or (_samples(values) and seed is not None)


def _unsupported(values: Values) -> str | None:
    """Name the settings that the fast decoder does not support, in a sentence. None: it supports all."""
    names = [name for name, has_effect in EFFECTS.items() if _is_in_effect(name, has_effect, values)]
    if not names:
        return None
    settings = ", ".join(f"{name}={values[name]}" for name in names)
    return f"its generation configuration asks for {settings}"


def _check_search(values: Values) -> None:
    """Raise InvalidGeneration for a search that transformers does not have."""
    for name, search in MOVED.items():
        if _is_in_effect(name, EFFECTS[name], values):
            raise InvalidGeneration(
                name, f"{name}={values[name]} of this model asks for {search}, which transformers 5 does not have."
            )


def _check_randomness(given: Mapping[str, Any], values: Values) -> None:
    """Raise InvalidGeneration for too little randomness. A checkpoint may have less, such as a `top_p` of 0.001."""
    for name in ("temperature", "top_p"):
        if _samples(values) and given.get(name, MIN_RANDOMNESS) < MIN_RANDOMNESS:
            raise InvalidGeneration(name, f"Must be at least {MIN_RANDOMNESS}, unless do_sample is false.")


def _is_in_effect(name: str, has_effect: Callable[[Any, Values], bool], values: Values) -> bool:
    value = values.get(name)
    return value is not None and has_effect(value, values)
