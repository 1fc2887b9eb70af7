"""What the other APIs ask of a captioner: images somewhere in JSON, a text about them, and how to write."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from http import HTTPStatus
from typing import Any, NamedTuple

import marshmallow as ma
from flask import current_app
from marshmallow import ValidationError

from flaskapp.api.caption import CAPTION
from flaskapp.api.compatible.stop import StopSequences, cut
from flaskapp.api.describe import prepare
from flaskapp.api.errors import sentence, validation_errors
from flaskapp.api.fields import NullIsUnset, Number, WholeNumber
from flaskapp.api.image_fields import ImageFileOrBase64
from flaskapp.captioner import GenerationSettings, captioner
from flaskapp.captioner.admission import BUSY
from flaskapp.captioner.generation import MAX_LENGTH, MAX_PROMPT, MIN_RANDOMNESS, Caption
from flaskapp.captioner.loader import LOADING
from flaskapp.errors import ModelUnavailable, UnknownModel, UnsupportedImageFormat
from flaskapp.images import EncodedImage

log = logging.getLogger(__name__)

NO_IMAGE = "There is no image in it: this server captions images."
PROMPT_IGNORED = "the model takes no text: the prompt was ignored"
SYSTEM = ("system", "developer")
SEEDS = 2**32
RETRY_AFTER = 5  # seconds
VERSION_DIGITS = 12  # as of a commit
IMAGE = ImageFileOrBase64()
MODEL_NAME = {
    "name": "name",
    "in": "path",
    "description": "The name of the model, as `/readyz` tells it",
    "schema": {"type": "string", "minLength": 1, "examples": ["embedded"]},
}
MODEL = {"description": "The name of the model that wrote the captions", "examples": ["embedded"]}
ANY_MODEL = {"description": "Any name: this server has one model", "examples": ["any"]}
TEXT = {"description": "The caption; of several images, a line each", "examples": [CAPTION["examples"][0]]}
PROMPT = {"description": "Text for models that take one", "examples": ["Describe this image."]}
STOP = {"description": "Texts that end the answer, and are no part of it", "examples": [[" on"]]}
ERROR = {"description": "What went wrong", "examples": [f"images: {NO_IMAGE}"]}
WARNING = {
    "description": "Present where the prompt or a member of the request was ignored, or another model substitutes for "
    "the default one",
    "examples": [PROMPT_IGNORED],
}
ERRORS = (
    HTTPStatus.BAD_REQUEST,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    HTTPStatus.TOO_MANY_REQUESTS,
    HTTPStatus.SERVICE_UNAVAILABLE,
    HTTPStatus.GATEWAY_TIMEOUT,
)
MESSAGES = {HTTPStatus.SERVICE_UNAVAILABLE: BUSY, HTTPStatus.NOT_FOUND: "this server's model is embedded"}
METADATA_MESSAGES = MESSAGES | {HTTPStatus.SERVICE_UNAVAILABLE: LOADING}  # of what only tells of the model

Path = tuple[str | int, ...]


class Found(NamedTuple):
    """An image, as bytes or as text, and where the request has it."""

    path: Path
    data: Any


class Question(NamedTuple):
    """The images of a request, where the request has each, and the text about them."""

    images: list[EncodedImage]
    paths: list[Path]
    prompt: str
    stops: tuple[str, ...] = ()  # sequences that end the answer
    ignored: tuple[str, ...] = ()  # members of the request that are not honoured


class Answer(NamedTuple):
    """The captions of each image, the best first, and what there is to know about them."""

    captions: list[list[Caption]]
    warnings: tuple[str, ...]
    stops: tuple[str, ...] = ()
    prompt: str = ""  # that the model was given

    def text(self, choice: int = 0) -> str:
        """One caption of each image, each on a line of its own, up to the first stop sequence."""
        return cut(self._whole_text(choice), self.stops, self.prompt)

    def is_cut(self, choice: int = 0) -> bool:
        """Whether a caption of these ends because it may have no more tokens, and not at a stop sequence."""
        is_stopped = self.text(choice) != self._whole_text(choice)
        return not is_stopped and any(captions[choice].is_cut for captions in self.captions)

    def _whole_text(self, choice: int) -> str:
        return "\n".join(captions[choice].text for captions in self.captions)

    @property
    def prompt_tokens(self) -> int:
        """Tokens that the decoder was given: the start and the prompt, for each image."""
        return sum(len(captions[0].token_ids) - captions[0].tokens for captions in self.captions)

    @property
    def completion_tokens(self) -> int:
        """Tokens that were generated, for all captions."""
        return sum(caption.tokens for captions in self.captions for caption in captions)


def length(description: str) -> WholeNumber:
    """A field with the most tokens of an answer."""
    return WholeNumber(metadata={"description": description, "examples": [30]})


def number(low: float, high: float, description: str, example: float) -> Number:
    """A field with a number of a range."""
    metadata = {"description": description, "examples": [example]}
    return Number(validate=ma.validate.Range(low, high), metadata=metadata)


def seed() -> WholeNumber:
    """A field with the seed of a draw."""
    return WholeNumber(metadata={"description": "Makes a draw repeatable", "examples": [7]})


class Options(NullIsUnset):
    """Ollama's, which PhotoPrism has, too."""

    class Meta:
        unknown = ma.EXCLUDE

    num_predict = length("The most tokens of the answer; below 1: the model's default")
    temperature = number(0, 100, "Above 0: draw tokens at random. Absent: the model's own search", 0)
    top_k = WholeNumber(metadata={"description": "Draw from the likeliest so many tokens", "examples": [50]})
    top_p = number(0, 1, "Draw from the likeliest tokens that sum to this", 1)
    seed = seed()
    stop = StopSequences(metadata=STOP)


def settings(
    *,
    num_predict: int | None = None,
    temperature: float | None = None,
    top_p: float | None = None,
    top_k: int | None = None,
    seed: int | None = None,
    **others: Any,
) -> GenerationSettings:
    """The generation settings that a chat's options amount to.

    Chat clients say with `temperature` that tokens are to be drawn, and with 0 that they are not; `top_p` says so, too.
    Without either, captions are made as the model's author meant them, mostly by a beam search. Clients do not know
    the model: what is beyond it is lowered.
    """
    samples = temperature > 0 if temperature is not None else top_p is not None and top_p < 1
    if samples:
        others |= {"num_beams": 1, "top_k": None if top_k is None else max(top_k, 0)}
        others |= {"seed": None if seed is None else seed % SEEDS}
        others |= {"temperature": None if temperature is None else max(temperature, MIN_RANDOMNESS)}
        others |= {"top_p": None if top_p is None else max(top_p, MIN_RANDOMNESS)}
    is_said = temperature is not None or samples
    return GenerationSettings(
        max_new_tokens=min(num_predict, MAX_LENGTH - 1) if num_predict is not None and num_predict > 0 else None,
        do_sample=samples if is_said else None,
        is_lenient=True,
        **others,
    )


def ignored(sent: Mapping[str, Any], known: Mapping[str, Any]) -> tuple[str, ...]:
    """The members that cannot be honoured, of those `known`. Each is known with the value that asks for nothing."""
    return tuple(name for name, nothing in known.items() if sent.get(name) not in (None, nothing))


def ignored_messages(messages: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """What is said of a conversation with instructions beside the user's text."""
    return ("system messages",) * any(each["role"] in SYSTEM and each["content"] for each in messages)


def question(
    images: Sequence[Found], prompt: str, field: str, stops: tuple[str, ...] = (), ignored: tuple[str, ...] = ()
) -> Question:
    """Read the images. Raises ValidationError, which names `field`, if there is none, or for a bad one."""
    if not images:
        raise ValidationError({field: [NO_IMAGE]})
    most = current_app.config["MAX_IMAGES"]
    if len(images) > most:
        raise ValidationError(nested(images[most].path, f"Send at most {most} images at once."))
    if captioner.takes_prompt and len(prompt) > MAX_PROMPT:
        raise ValidationError({"prompt": [f"Longer than maximum length {MAX_PROMPT}."]})
    read = []
    for found in images:
        try:
            read.append(IMAGE.deserialize(found.data))
        except ValidationError as error:
            raise ValidationError(nested(found.path, *error.messages)) from error
        except UnsupportedImageFormat as error:
            raise ValidationError(nested(found.path, sentence(error))) from error
    return Question(read, [found.path for found in images], prompt, stops, ignored)


def answer(asked: Question, wanted: GenerationSettings) -> Answer:
    """The captions that a question asks for. Raises what `describe` does."""
    with validation_errors(location="json"):
        return answer_of(asked, prepare_question(asked, wanted)())


def prepare_question(
    asked: Question, wanted: GenerationSettings, is_given_up: Callable[[], bool] = lambda: False
) -> Callable[..., list[list[Caption]]]:
    """`describe.prepare` for the images of a question, and its text."""
    if asked.prompt:
        wanted = replace(wanted, prompt=asked.prompt)
    return prepare(
        asked.images, wanted, lambda index: validation_errors(*asked.paths[index], location="json"), is_given_up
    )


def answer_of(asked: Question, captions: list[list[Caption]]) -> Answer:
    """What these captions say to a question."""
    warnings = []
    if asked.prompt and not captioner.takes_prompt:
        warnings.append(PROMPT_IGNORED)
    if asked.ignored:
        warnings.append(f"ignored: {', '.join(asked.ignored)}")
    return Answer(captions, tuple(warnings), asked.stops, asked.prompt if captioner.takes_prompt else "")


def model_name(*, waits: bool = False) -> str:
    """The name of the model. Raises CaptionerUnavailable without one: while it is being loaded, unless it `waits`."""
    if captioner.defaults is None and waits:
        captioner.resolve(GenerationSettings())
    if captioner.defaults is None:
        captioner.load_in_background()
        raise ModelUnavailable(captioner.problem or LOADING, RETRY_AFTER)
    return captioner.name


def model_version() -> str:
    """What tells the model from others of that name."""
    return (captioner.version or "")[:VERSION_DIGITS]


def check_name(name: str, *, waits: bool = False) -> None:
    """Raises UnknownModel for the name of another model, and what `model_name` does."""
    if name != model_name(waits=waits):
        raise UnknownModel(f"this server's model is {captioner.name}")


def nested(path: Path, *messages: str) -> dict[Any, Any]:
    errors: Any = list(messages)
    for name in reversed(path):
        errors = {name: errors}
    return dict(errors)
