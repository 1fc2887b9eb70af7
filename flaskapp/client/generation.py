"""The generation settings of a request."""

from typing import Literal, TypedDict


class Generation(TypedDict, total=False):
    """Names and meaning are those of transformers' `generate`. The server has the defaults and the limits."""

    prompt: str  # for models that take text
    max_length: int  # tokens, with the start, the prompt and the end
    max_new_tokens: int  # tokens after the prompt; takes precedence over max_length
    min_length: int
    num_beams: int
    num_return_sequences: int
    length_penalty: float
    early_stopping: bool | Literal["never"]
    no_repeat_ngram_size: int
    repetition_penalty: float
    do_sample: bool
    temperature: float
    top_k: int
    top_p: float
    seed: int | None
    scores: bool  # also return `ImageCaptions.scores`; not for jobs
