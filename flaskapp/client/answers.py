"""What the methods of the client return."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, NamedTuple


class Status(NamedTuple):
    message: str
    status_code: int


class Model(NamedTuple):
    """The model that captions. A server of an earlier version tells the name and the note alone."""

    name: str
    note: str  # "OK", or that it substitutes for another
    decoder: Literal["fast", "generate"] | None = None  # what decodes requests with the default settings
    reason: str | None = None  # why it is not the fast decoder
    takes_prompt: bool | None = None
    defaults: dict[str, Any] | None = None  # the settings of a request that gives none
    precision: str | None = None  # what it computes in: "fp32", "bf16", "fp16" or "int8"
    precision_reason: str | None = None  # why the server chose it, if it did


class Item(NamedTuple):
    item_id: int
    q: str | None


class EmailCheck(NamedTuple):
    is_email: bool
    is_domain_match: bool


class ResizedImage(NamedTuple):
    content: bytes  # a whole image file
    format: str  # "jpeg", "png" or "webp"


class Score(NamedTuple):
    """How likely a caption is to the model."""

    log_probability: float | None  # the mean over its tokens
    tokens: int  # that were generated, the end token included


class ImageCaptions(NamedTuple):
    """The captions of one image, the best first."""

    input: str  # the file's name
    captions: list[str]
    scores: list[Score] | None = None  # one for each caption, if they were asked for

    @property
    def best(self) -> str:
        return self.captions[0]


class Captions(NamedTuple):
    """The captions of the images of one request, in their order, and the model that wrote them."""

    model: str
    results: list[ImageCaptions]
    warning: str | None = None  # that the embedded model substitutes for the default one

    @property
    def best(self) -> str:
        """The best caption of the first image."""
        return self.results[0].best


class ImageError(NamedTuple):
    """What is wrong with an image that the server could not read."""

    input: str  # the file's name
    error: str


class PartialCaptions(NamedTuple):
    """As Captions, with an ImageError in place of the captions of each image that could not be read."""

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
    """How a caption job stands."""

    id: str
    state: Literal["queued", "running", "done", "cancelled", "expired"]
    total: int  # images
    done: int  # with captions
    failed: int  # with an error
    seconds_remaining: float | None  # at the pace so far; None while that is not known
    created_at: datetime
    ended_at: datetime | None

    @property
    def has_ended(self) -> bool:
        return self.state not in ("queued", "running")


@dataclass(frozen=True)
class JobResult:
    """The captions of an image of a job, the best first, or its error; neither as long as there are none."""

    index: int  # in the upload, from 0
    input: str  # the file's name
    captions: list[str] | None = None
    error: str | None = None


def texts(answer: Any) -> list[str]:
    """Captions as a server gives them. Raises ValueError for what are none."""
    if not isinstance(answer, list) or not answer or not all(isinstance(each, str) for each in answer):
        raise ValueError("not captions")
    return answer
