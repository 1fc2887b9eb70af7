"""The return types of the client's methods."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, NamedTuple


class Status(NamedTuple):
    message: str
    status_code: int


class Model(NamedTuple):
    """The model that captions. Servers of earlier versions send only its name and note."""

    name: str
    note: str  # "OK", or a message that it substitutes for another model
    decoder: Literal["fast", "generate"] | None = None  # for the default settings
    reason: str | None = None  # why the decoder is not "fast"
    takes_prompt: bool | None = None
    defaults: dict[str, Any] | None = None  # the generation settings of a request without any
    precision: str | None = None  # "fp32", "bf16", "fp16" or "int8"
    precision_reason: str | None = None  # why the server chose this precision; None if a setting did


class Item(NamedTuple):
    item_id: int
    q: str | None


class EmailCheck(NamedTuple):
    is_email: bool
    is_domain_match: bool


class ResizedImage(NamedTuple):
    content: bytes  # an image file
    format: str  # "jpeg", "png" or "webp"


class Score(NamedTuple):
    """The likelihood of a caption, by the model."""

    log_probability: float | None  # the mean over its tokens
    tokens: int  # number of generated tokens, with the end token


class ImageCaptions(NamedTuple):
    """The captions of one image, the best first."""

    input: str  # the file's name
    captions: list[str]
    scores: list[Score] | None = None  # one per caption, if requested

    @property
    def best(self) -> str:
        return self.captions[0]


class Captions(NamedTuple):
    """The captions of a request's images, in order, and the model that wrote them."""

    model: str
    results: list[ImageCaptions]
    warning: str | None = None  # the embedded model substitutes for the default one

    @property
    def best(self) -> str:
        """The best caption of the first image."""
        return self.results[0].best


class ImageError(NamedTuple):
    """The error of an image that the server cannot read."""

    input: str  # the file's name
    error: str


class PartialCaptions(NamedTuple):
    """Like Captions, but an image that the server cannot read has an ImageError in place of its captions."""

    model: str
    results: list[ImageCaptions | ImageError]
    warning: str | None = None

    @property
    def captioned(self) -> list[ImageCaptions]:
        return [result for result in self.results if isinstance(result, ImageCaptions)]

    @property
    def failed(self) -> list[ImageError]:
        return [result for result in self.results if isinstance(result, ImageError)]


class Job(NamedTuple):
    """The status of a caption job."""

    id: str
    state: Literal["queued", "running", "done", "cancelled", "expired"]
    total: int  # images
    done: int  # with captions
    failed: int  # with an error
    seconds_remaining: float | None  # estimate from the pace so far; None before the first result
    created_at: datetime
    ended_at: datetime | None

    @property
    def has_ended(self) -> bool:
        return self.state not in ("queued", "running")


@dataclass(frozen=True)
class JobResult:
    """The captions of an image of a job, the best first, or its error. Both are None while the image is waiting."""

    index: int  # in the upload, from 0
    input: str  # the file's name
    captions: list[str] | None = None
    error: str | None = None


def texts(answer: Any) -> list[str]:
    """Check that an answer is a list of captions, and return it. Raises ValueError."""
    if not isinstance(answer, list) or not answer or not all(isinstance(each, str) for each in answer):
        raise ValueError("not captions")
    return answer
