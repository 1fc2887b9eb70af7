"""Shared by the APIs of other servers: read images and a prompt from JSON, and caption them."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from http import HTTPStatus
from typing import Any, NamedTuple

import marshmallow as ma
from flask import current_app
from marshmallow import ValidationError

from flaskapp.api.caption import CAPTION
from flaskapp.api.compatible.stop import StopSequences, truncate
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
VERSION_DIGITS = 12  # as in a short commit hash
IMAGE = ImageFileOrBase64()
MODEL_NAME = {
    "name": "name",
    "in": "path",
    "description": "The name of the model: `model.name` of `/readyz`",
    "schema": {"type": "string", "minLength": 1, "examples": ["embedded"]},
}
MODEL = {"description": "The name of the model that wrote the captions", "examples": ["embedded"]}
ANY_MODEL = {"description": "Any name: this server has one model", "examples": ["any"]}
TEXT = {"description": "The caption; one line for each image", "examples": [CAPTION["examples"][0]]}
PROMPT = {"description": "For models that take text", "examples": ["Describe this image."]}
STOP = {"description": "Texts that end the answer; it does not include them", "examples": [[" on"]]}
ERROR = {"description": "What went wrong", "examples": [f"images: {NO_IMAGE}"]}
WARNING = {
    "description": "Present if the prompt or a member of the request was ignored, or if another model replaces the "
    "default one",
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
METADATA_MESSAGES = MESSAGES | {HTTPStatus.SERVICE_UNAVAILABLE: LOADING}  # of endpoints that do not caption

Path = tuple[str | int, ...]


class FoundImage(NamedTuple):
    """An image in a request, as bytes or text, and its path in the JSON."""

    path: Path
    data: Any


class Question(NamedTuple):
    """The images of a request, their paths in the JSON, and the prompt."""

    images: list[EncodedImage]
    paths: list[Path]
    prompt: str
    stops: tuple[str, ...] = ()  # stop sequences
    ignored: tuple[str, ...] = ()  # members of the request that this server does not support


class Answer(NamedTuple):
    """The captions of each image, the best first, with warnings."""

    captions: list[list[Caption]]
    warnings: tuple[str, ...]
    stops: tuple[str, ...] = ()
    prompt: str = ""  # the prompt that the model was given

    def text(self, choice: int = 0) -> str:
        """Return one caption of each image, one on a line, up to the first stop sequence."""
        return truncate(self._whole_text(choice), self.stops, self.prompt)

    def is_cut(self, choice: int = 0) -> bool:
        """Whether the text ends at the limit of tokens, and not at a stop sequence."""
        is_stopped = self.text(choice) != self._whole_text(choice)
        return not is_stopped and any(captions[choice].is_cut for captions in self.captions)

    def _whole_text(self, choice: int) -> str:
        return "\n".join(captions[choice].text for captions in self.captions)

    @property
    def prompt_tokens(self) -> int:
        """Number of tokens of text given to the model: the start and the prompt, for each image."""
        return sum(captions[0].prompt_tokens for captions in self.captions)

    @property
    def completion_tokens(self) -> int:
        """Number of generated tokens in all captions."""
        return sum(caption.tokens for captions in self.captions for caption in captions)


def length(description: str) -> WholeNumber:
    """Make a field for the maximum number of tokens."""
    return WholeNumber(metadata={"description": description, "examples": [30]})


def number(low: float, high: float, description: str, example: float) -> Number:
    """Make a field for a number in a range."""
    metadata = {"description": description, "examples": [example]}
    return Number(validate=ma.validate.Range(low, high), metadata=metadata)


def seed() -> WholeNumber:
    """Make a field for the seed of sampling."""
    return WholeNumber(metadata={"description": "Makes sampling repeatable", "examples": [7]})


class Options(NullIsUnset):
    """The options of Ollama, which PhotoPrism sends as well."""

    class Meta:
        unknown = ma.EXCLUDE

    num_predict = length("The most tokens of the answer; below 1: the model's default")
    temperature = number(0, 100, "Above 0: sample tokens at random. Absent: the model's default search", 0)
    top_k = WholeNumber(metadata={"description": "Number of likeliest tokens to sample from", "examples": [50]})
    top_p = number(0, 1, "Sample from the likeliest tokens whose probabilities sum to this", 1)
    seed = seed()
    stop = StopSequences(metadata=STOP)


def generation_settings(
    *,
    num_predict: int | None = None,
    temperature: float | None = None,
    top_p: float | None = None,
    top_k: int | None = None,
    seed: int | None = None,
    **others: Any,
) -> GenerationSettings:
    """Return the generation settings for the options of a chat.

    `temperature` above 0 or `top_p` below 1 turns on sampling; `temperature` 0 turns it off. Without either, the model
    decodes by its defaults, usually a beam search. Limits that exceed the model's are lowered, not rejected: chat
    clients do not know them.
    """
    samples = temperature > 0 if temperature is not None else top_p is not None and top_p < 1
    if samples:
        others |= {"num_beams": 1, "top_k": None if top_k is None else max(top_k, 0)}
        others |= {"seed": None if seed is None else seed % SEEDS}
        others |= {"temperature": None if temperature is None else max(temperature, MIN_RANDOMNESS)}
        others |= {"top_p": None if top_p is None else max(top_p, MIN_RANDOMNESS)}
    is_given = temperature is not None or samples
    return GenerationSettings(
        max_new_tokens=min(num_predict, MAX_LENGTH - 1) if num_predict is not None and num_predict > 0 else None,
        do_sample=samples if is_given else None,
        is_lenient=True,
        **others,
    )


def ignored(sent: Mapping[str, Any], known: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the names of sent members that are not supported: those in `known`, except with their neutral value."""
    return tuple(name for name, neutral in known.items() if sent.get(name) not in (None, neutral))


def ignored_messages(messages: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """Name the system messages of a conversation, if it has any: they are ignored."""
    return ("system messages",) * any(each["role"] in SYSTEM and each["content"] for each in messages)


def read_question(
    images: Sequence[FoundImage], prompt: str, field: str, stops: tuple[str, ...] = (), ignored: tuple[str, ...] = ()
) -> Question:
    """Read the images. Raise ValidationError if there are none or too many, or if one is invalid."""
    if not images:
        raise ValidationError({field: [NO_IMAGE]})
    limit = current_app.config["MAX_IMAGES"]
    if len(images) > limit:
        raise ValidationError(nested(images[limit].path, f"Send at most {limit} images at once."))
    if captioner.takes_prompt and len(prompt) > MAX_PROMPT:
        raise ValidationError({"prompt": [f"Longer than maximum length {MAX_PROMPT}."]})
    decoded = []
    for found in images:
        try:
            decoded.append(IMAGE.deserialize(found.data))
        except ValidationError as error:
            raise ValidationError(nested(found.path, *error.messages)) from error
        except UnsupportedImageFormat as error:
            raise ValidationError(nested(found.path, sentence(error))) from error
    return Question(decoded, [found.path for found in images], prompt, stops, ignored)


def answer_question(question: Question, settings: GenerationSettings, settings_path: Path = ()) -> Answer:
    """Caption the images of a question. Raises the errors of `describe`.

    `settings_path` is the path of the settings in the JSON, for errors that name one.
    """
    with validation_errors(*settings_path, location="json", top_level=("prompt",)):
        return answer_of(question, prepare_question(question, settings)())


def prepare_question(
    question: Question, settings: GenerationSettings, is_cancelled: Callable[[], bool] = lambda: False
) -> Callable[..., list[list[Caption]]]:
    """Call `describe.prepare` with the images and the prompt of a question."""
    if question.prompt:
        settings = replace(settings, prompt=question.prompt)
    return prepare(
        question.images,
        settings,
        lambda index: validation_errors(*question.paths[index], location="json"),
        is_cancelled,
    )


def answer_of(question: Question, captions: list[list[Caption]]) -> Answer:
    """Return the answer with these captions, and warnings of what was ignored."""
    warnings = []
    if question.prompt and not captioner.takes_prompt:
        warnings.append(PROMPT_IGNORED)
    if question.ignored:
        warnings.append(f"ignored: {', '.join(question.ignored)}")
    return Answer(captions, tuple(warnings), question.stops, question.prompt if captioner.takes_prompt else "")


def model_name(*, waits: bool = False) -> str:
    """Return the name of the model. While it is being loaded, raise ModelUnavailable, or wait for it with `waits`."""
    if captioner.defaults is None and waits:
        captioner.resolve(GenerationSettings())
    if captioner.defaults is None:
        captioner.load_in_background()
        raise ModelUnavailable(captioner.problem or LOADING, RETRY_AFTER)
    return captioner.name


def model_version() -> str:
    """Return the version of the model's weights, or "" if it is unknown."""
    return (captioner.version or "")[:VERSION_DIGITS]


def check_name(name: str, *, waits: bool = False) -> None:
    """Raise UnknownModel for the name of another model, and the errors of `model_name`."""
    if name != model_name(waits=waits):
        raise UnknownModel(f"this server's model is {captioner.name}")


def nested(path: Path, *messages: str) -> dict[Any, Any]:
    """Return validation messages at a path in the JSON."""
    errors: Any = list(messages)
    for name in reversed(path):
        errors = {name: errors}
    return dict(errors)
