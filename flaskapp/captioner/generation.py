"""The generation settings of one request: names and meaning are those of transformers' `generate`."""

from dataclasses import dataclass
from typing import Any, Literal

from flaskapp.errors import InvalidGeneration

MAX_LENGTH = 1024  # tokens; the positions of GPT-2. A smaller model bounds it further
LEAST = 0.01  # `temperature` and `top_p` of a draw; without one they do nothing, and 0 says so
MAX_BEAMS = 32  # also of `num_return_sequences`: what one image may ask of the memory


@dataclass(frozen=True, kw_only=True)
class GenerationSettings:
    """Raises InvalidGeneration, which names the field, for values that contradict each other."""

    max_length: int = 16  # tokens, start and end token included
    min_length: int = 0
    num_beams: int = 8
    num_return_sequences: int = 1
    length_penalty: float = 1.0
    early_stopping: bool | Literal["never"] = False
    no_repeat_ngram_size: int = 0  # 0: off
    repetition_penalty: float = 1.0
    do_sample: bool = False
    temperature: float = 1.0  # this and the rest: only with `do_sample`
    top_k: int = 50  # 0: off
    top_p: float = 1.0
    seed: int | None = None

    def __post_init__(self) -> None:
        if self.min_length > self.max_length:
            raise InvalidGeneration("min_length", "Must not be more than max_length.")
        for field in ("temperature", "top_p"):
            if self.do_sample and getattr(self, field) < LEAST:
                raise InvalidGeneration(field, f"Must be at least {LEAST}, unless do_sample is false.")
        draws_freely = self.do_sample and self.num_beams == 1
        if self.num_return_sequences > self.num_beams and not draws_freely:
            raise InvalidGeneration(
                "num_return_sequences", "Must not be more than num_beams, unless do_sample is true and num_beams is 1."
            )

    def for_generate(self) -> dict[str, Any]:
        """The keyword arguments of `generate` that these settings amount to."""
        arguments: dict[str, Any] = {
            "max_length": self.max_length,
            "min_length": self.min_length,
            "num_beams": self.num_beams,
            "num_return_sequences": self.num_return_sequences,
            "no_repeat_ngram_size": self.no_repeat_ngram_size,
            "repetition_penalty": self.repetition_penalty,
            "do_sample": self.do_sample,
        }
        if self.num_beams > 1:
            arguments |= {"length_penalty": self.length_penalty, "early_stopping": self.early_stopping}
        if self.do_sample:
            arguments |= {"temperature": float(self.temperature), "top_k": self.top_k, "top_p": self.top_p}
        return arguments
