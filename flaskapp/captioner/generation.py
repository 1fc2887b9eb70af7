"""The generation settings of a request, and the complete settings after they are merged with a model's defaults.

Names and meanings are those of transformers' `generate`.
"""

from dataclasses import dataclass, fields, replace
from typing import Any, Literal, NamedTuple

from flaskapp.errors import InvalidGeneration

MAX_LENGTH = 1024  # tokens; a model with fewer positions has a lower limit
MAX_PROMPT = 4096  # characters
MIN_RANDOMNESS = 0.01  # least `temperature` and `top_p` of a request that samples; others may have 0, without effect
MAX_BEAMS = 32  # also of `num_return_sequences`: bounds the memory for one image

EarlyStopping = bool | Literal["never"]


@dataclass(frozen=True, kw_only=True)
class GenerationSettings:
    """The settings of a request. None: the model's default."""

    prompt: str | None = None
    max_length: int | None = None  # tokens, including the prompt, the start and the end token
    max_new_tokens: int | None = None  # tokens after the prompt; takes precedence over max_length
    min_length: int | None = None
    num_beams: int | None = None
    num_return_sequences: int | None = None
    length_penalty: float | None = None
    early_stopping: EarlyStopping | None = None
    no_repeat_ngram_size: int | None = None  # 0: off
    repetition_penalty: float | None = None
    do_sample: bool | None = None
    temperature: float | None = None  # this and the next three: only with `do_sample`
    top_k: int | None = None  # 0: off
    top_p: float | None = None
    seed: int | None = None
    scores: bool = False  # return the captions' log-probabilities
    is_lenient: bool = False  # lower or drop settings beyond the model's limits, instead of rejecting them

    def given(self) -> dict[str, Any]:
        """Return the arguments of `generate` that are set."""
        values = {field.name: getattr(self, field.name) for field in fields(self) if field.name not in NOT_ARGUMENTS}
        return {name: value for name, value in values.items() if value is not None}

    def over(self, others: "GenerationSettings") -> "GenerationSettings":
        """Return these settings, completed by `others`. A length here replaces both lengths of `others`."""
        ours = {field.name: getattr(self, field.name) for field in fields(self)}
        ours = {name: value for name, value in ours.items() if value is not None}
        if {"max_length", "max_new_tokens"} & ours.keys():
            others = replace(others, max_length=None, max_new_tokens=None)
        return replace(others, **ours | {"scores": self.scores or others.scores, "is_lenient": self.is_lenient})


NOT_ARGUMENTS = frozenset(("prompt", "seed", "scores", "is_lenient"))  # settings that `generate` does not have
NOT_SHOWN = frozenset(("max_new_tokens", "seed", "scores", "is_lenient"))  # settings without a default to report
COURSE = GenerationSettings(max_length=16, num_beams=8)  # defaults of the course's application


@dataclass(frozen=True, kw_only=True)
class Generation:
    """The complete settings of one generation: a request's, merged with the model's and transformers' defaults.

    Requests with equal generations are compatible: `generate` can caption them in one batch.
    Raises InvalidGeneration, which names the field, for values that contradict each other.
    """

    prompt: str | None = None
    prompt_ids: tuple[int, ...] = (0,)  # the decoder's input: the start token and the prompt's tokens
    max_length: int = 20  # tokens, including prompt_ids
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
    arguments: tuple[tuple[str, Any], ...] = ()  # arguments of `generate`, besides images and prompt
    fallback: str | None = None  # why `generate` must decode this; None: the fast decoder does
    is_alone: bool = False  # whether `generate` needs a batch for each image

    def __post_init__(self) -> None:
        if self.max_length <= len(self.prompt_ids):
            raise InvalidGeneration(
                "max_length", f"Must be more than {len(self.prompt_ids)}, the tokens of the prompt and the start."
            )
        if self.min_length > self.max_length:
            raise InvalidGeneration("min_length", "Must not be more than max_length.")
        if self.do_sample and self.temperature <= 0:
            raise InvalidGeneration("temperature", "Must be more than 0, unless do_sample is false.")
        if self.num_return_sequences > self.num_beams and not self.draws_freely:
            raise InvalidGeneration(
                "num_return_sequences", "Must not be more than num_beams, unless do_sample is true and num_beams is 1."
            )

    @property
    def draws_freely(self) -> bool:
        """Whether captions are sampled independently, without beam search."""
        return self.do_sample and self.num_beams == 1

    @property
    def rows(self) -> int:
        """Sequences of one image that are decoded at the same time."""
        return self.num_return_sequences if self.draws_freely else self.num_beams

    def shown(self) -> dict[str, Any]:
        """Return the settings by the names of `GenerationSettings`."""
        names = [field.name for field in fields(GenerationSettings)]
        return {name: getattr(self, name) for name in names if name not in NOT_SHOWN}


class Caption(NamedTuple):
    """One caption of an image."""

    text: str
    token_ids: tuple[int, ...]  # including the start token and those of a prompt that it continues, as in `generate`
    tokens: int  # number of generated tokens, including the end token
    log_probability: float | None = None  # mean over the generated tokens; only with `scores`
    is_cut: bool = False  # whether it reached the maximum length without an end token
    other_prompt_tokens: int = 0  # number of the prompt's tokens that token_ids lacks: those of an instruction

    @property
    def prompt_tokens(self) -> int:
        """Number of the tokens of the start and the prompt."""
        return len(self.token_ids) - self.tokens + self.other_prompt_tokens
