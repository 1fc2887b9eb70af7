"""The generation settings of a request, and what they amount to with a model's defaults.

Names and meaning are those of transformers' `generate`.
"""

from dataclasses import dataclass, fields, replace
from typing import Any, Literal, NamedTuple

from flaskapp.errors import InvalidGeneration

MAX_LENGTH = 1024  # tokens that a request may ask for. A smaller model bounds it further
MAX_PROMPT = 4096  # characters
LEAST = 0.01  # `temperature` and `top_p` of a draw; without one they do nothing, and 0 says so
MAX_BEAMS = 32  # also of `num_return_sequences`: bounds the memory that one image may take

EarlyStopping = bool | Literal["never"]


@dataclass(frozen=True, kw_only=True)
class GenerationSettings:
    """What a request asks for. None: the model's default."""

    prompt: str | None = None
    max_length: int | None = None  # tokens, the prompt, the start and the end token included
    max_new_tokens: int | None = None  # tokens after the prompt; takes precedence over max_length
    min_length: int | None = None
    num_beams: int | None = None
    num_return_sequences: int | None = None
    length_penalty: float | None = None
    early_stopping: EarlyStopping | None = None
    no_repeat_ngram_size: int | None = None  # 0: off
    repetition_penalty: float | None = None
    do_sample: bool | None = None
    temperature: float | None = None  # this and the rest: only with `do_sample`
    top_k: int | None = None  # 0: off
    top_p: float | None = None
    seed: int | None = None
    scores: bool = False  # whether the captions' log-probabilities are wanted
    is_lenient: bool = False  # what is beyond the model is lowered to what it can do, or left out; else refused

    def given(self) -> dict[str, Any]:
        """The arguments of `generate` that the request gives, without those that are not for `generate`."""
        values = {field.name: getattr(self, field.name) for field in fields(self) if field.name not in OWN}
        return {name: value for name, value in values.items() if value is not None}

    def over(self, others: "GenerationSettings") -> "GenerationSettings":
        """These settings, and others where these say nothing. One length replaces the other, however it is said."""
        ours = {field.name: getattr(self, field.name) for field in fields(self)}
        ours = {name: value for name, value in ours.items() if value is not None}
        if {"max_length", "max_new_tokens"} & ours.keys():
            others = replace(others, max_length=None, max_new_tokens=None)
        return replace(others, **ours | {"scores": self.scores or others.scores, "is_lenient": self.is_lenient})


OWN = frozenset(("prompt", "seed", "scores", "is_lenient"))  # settings that are not arguments of `generate`
HIDDEN = frozenset(("max_new_tokens", "seed", "scores", "is_lenient"))  # are no defaults that can be told
COURSE = GenerationSettings(max_length=16, num_beams=8)  # the defaults of the course's application


@dataclass(frozen=True, kw_only=True)
class Generation:
    """The settings of one generation, with nothing left open: a request's, a model's and transformers' defaults.

    Requests with equal ones are compatible: one batch can take them.
    Raises InvalidGeneration, which names the field, for values that contradict each other.
    """

    prompt: str | None = None
    prompt_ids: tuple[int, ...] = (0,)  # the start token and the prompt's: what the decoder is given
    max_length: int = 20  # tokens with those of prompt_ids
    min_length: int = 0
    num_beams: int = 1
    num_return_sequences: int = 1
    length_penalty: float = 1.0
    early_stopping: EarlyStopping = False
    no_repeat_ngram_size: int = 0
    repetition_penalty: float = 1.0
    do_sample: bool = False
    temperature: float = 1.0
    top_k: int = 50
    top_p: float = 1.0
    seed: int | None = None
    scores: bool = False
    eos_token_ids: tuple[int, ...] = ()
    forced_bos_token_id: int | None = None
    forced_eos_token_ids: tuple[int, ...] = ()
    bad_words_ids: tuple[tuple[int, ...], ...] = ()
    suppress_tokens: tuple[int, ...] = ()
    begin_suppress_tokens: tuple[int, ...] = ()
    arguments: tuple[tuple[str, Any], ...] = ()  # what `generate` is given besides the images and the prompt
    fallback: str | None = None  # why `generate` decodes this, if it does; else the fast decoder
    is_alone: bool = False  # whether `generate` may not decode it with others

    def __post_init__(self) -> None:
        if self.max_length <= len(self.prompt_ids):
            raise InvalidGeneration(
                "max_length", f"Must be more than {len(self.prompt_ids)}, the tokens of the prompt and the start."
            )
        if self.min_length > self.max_length:
            raise InvalidGeneration("min_length", "Must not be more than max_length.")
        for field in ("temperature", "top_p"):
            if self.do_sample and getattr(self, field) < LEAST:
                raise InvalidGeneration(field, f"Must be at least {LEAST}, unless do_sample is false.")
        if self.num_return_sequences > self.num_beams and not self.draws_freely:
            raise InvalidGeneration(
                "num_return_sequences", "Must not be more than num_beams, unless do_sample is true and num_beams is 1."
            )

    @property
    def draws_freely(self) -> bool:
        """Whether each caption is drawn by itself, with no search."""
        return self.do_sample and self.num_beams == 1

    @property
    def rows(self) -> int:
        """Sequences that are decoded at the same time."""
        return self.num_return_sequences if self.draws_freely else self.num_beams

    def shown(self) -> dict[str, Any]:
        """The settings as a request would give them."""
        names = [field.name for field in fields(GenerationSettings)]
        return {name: getattr(self, name) for name in names if name not in HIDDEN}


class Caption(NamedTuple):
    """One caption of an image. `log_probability` is the mean over its generated tokens, where it was asked for."""

    text: str
    token_ids: tuple[int, ...]  # with the start token and the prompt's, as `generate` returns them
    tokens: int  # that were generated, the end token included
    log_probability: float | None = None
    is_cut: bool = False  # whether it ends because it may have no more tokens
