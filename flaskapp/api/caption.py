"""Caption images."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from http import HTTPStatus
from typing import Any

import marshmallow as ma
from marshmallow import ValidationError, post_load, validate

from flaskapp.api import image_quota
from flaskapp.api.cv_model import FILE
from flaskapp.api.describe import describe, describe_readable, warning
from flaskapp.api.errors import validation_errors
from flaskapp.api.fields import EarlyStopping, Flag, FormFlag, JSONPart, NullIsUnset, Number, Text, WholeNumber
from flaskapp.api.image_fields import Base64Images, ImageFile, ImageFiles, UnreadableFile, UploadedImage
from flaskapp.api.protected import ProtectedBlueprint
from flaskapp.api.status import OK, Status
from flaskapp.captioner import GenerationSettings, captioner
from flaskapp.captioner.admission import BUSY
from flaskapp.captioner.generation import MAX_BEAMS, MAX_LENGTH, MAX_PROMPT, Caption
from flaskapp.errors import InvalidSetting, UnreadableImage
from flaskapp.images import MEDIA_TYPES

CAPTION = {"description": "The best caption of the first image", "examples": ["a small red star on a grey background"]}
# A red square on white.
SQUARE = (
    "iVBORw0KGgoAAAANSUhEUgAAABAAAAAQAQMAAAAlPW0iAAAABlBMVEX////cHh7/Hx2WAAAAFElEQVR42mNgQAL8H5gYGDARMgAAI20BDofI/jkA"
    "AAAASUVORK5CYII="
)
IMAGE_TYPES = ", ".join(f"image/{name}" for name in MEDIA_TYPES)


# The example is empty, because Swagger UI and Postman send it, and most models take no text.
PROMPT = {
    "description": "For models that take text (`takes_prompt` of `/readyz`): the beginning of the caption, such as "
    "`a photograph of`, a task or an instruction, depending on the model",
    "examples": [""],
}


def _integer(low: int, high: int, description: str, example: int, **options: Any) -> WholeNumber:
    metadata = {"description": description, "examples": [example]}
    return WholeNumber(validate=validate.Range(low, high), metadata=metadata, **options)


def _number(low: float, high: float, description: str, example: float) -> Number:
    return Number(validate=validate.Range(low, high), metadata={"description": description, "examples": [example]})


def _flag(description: str) -> Flag:
    return Flag(metadata={"description": description, "examples": [False]})


class Generation(NullIsUnset):
    """Generation settings, named as in transformers' `generate`. A missing setting has the model's default."""

    # No description in Meta for OpenAPI: with one, apispec omits `additionalProperties: false`.
    max_length = _integer(
        2,
        MAX_LENGTH,
        "Most tokens of a caption, with the start, the prompt and the end. `/readyz` shows the default",
        16,
    )
    max_new_tokens = _integer(
        1, MAX_LENGTH - 1, "Most tokens after the start and the prompt; takes precedence over `max_length`", 15
    )
    num_beams = _integer(1, MAX_BEAMS, "Beams of the search; 1 is greedy", 8)
    num_return_sequences = _integer(1, MAX_BEAMS, "Captions for each image, the best first", 1)
    min_length = _integer(0, MAX_LENGTH, "Fewest tokens of a caption", 0)
    length_penalty = _number(-10, 10, "Above 0 favours longer captions (beams only)", 1.0)
    early_stopping = EarlyStopping(metadata={"description": "When a beam search ends", "examples": [False]})
    no_repeat_ngram_size = _integer(0, MAX_LENGTH, "Length of token runs that may not repeat; 0: off", 0)
    repetition_penalty = _number(0.1, 10, "Above 1 discourages repeated tokens", 1.0)
    do_sample = _flag("Sample tokens at random")
    temperature = _number(0, 100, "Above 1 samples more evenly (with do_sample, from 0.01)", 1.0)
    top_k = _integer(0, 1_000_000, "Number of likeliest tokens to sample from; 0: all (with do_sample)", 50)
    top_p = _number(
        0, 1, "Sample from the likeliest tokens whose probabilities sum to this (with do_sample, from 0.01)", 1.0
    )
    seed = _integer(0, 2**32 - 1, "Makes sampling repeatable (with do_sample)", 7, allow_none=True)
    prompt = Text(validate=validate.Length(max=MAX_PROMPT), metadata=PROMPT)
    scores = _flag("Answer with each caption's log-probability and its number of tokens")


class CaptionConfig(Generation):
    @post_load
    def make(self, data: dict[str, Any], **_: Any) -> GenerationSettings:
        return GenerationSettings(**data)


def default_settings(given: Mapping[str, Any]) -> GenerationSettings:
    """Parse the setting CAPTIONER_DEFAULTS. Raise InvalidSetting for values that a request may not have."""
    try:
        settings: GenerationSettings = CaptionConfig(exclude=("seed", "scores")).load(given)
    except ValidationError as error:
        problems = "; ".join(f"{name}: {' '.join(messages)}" for name, messages in error.messages_dict.items())
        raise InvalidSetting(f"FLASKAPP_CAPTIONER_DEFAULTS must hold settings of `config`: {problems}") from None
    return settings


PARTIAL = {
    "description": "Caption the images that can be read; the others get an `error` in place of captions",
    "examples": [False],
}


class CaptionForm(ma.Schema):
    data = ImageFiles(ImageFile(), required=True, metadata=FILE)
    config = JSONPart(CaptionConfig, load_default=GenerationSettings)
    prompt = Text(
        validate=validate.Length(max=MAX_PROMPT),
        metadata=PROMPT | {"description": "The same as `prompt` in `config`, and takes precedence over it"},
    )
    is_partial = FormFlag(load_default=False, data_key="partial", metadata=PARTIAL)


class CaptionBody(ma.Schema):
    """The JSON body of `/caption/`, for the OpenAPI document."""

    data = Base64Images(
        min_items=1,
        required=True,
        metadata={
            "description": "Image files in base64 or as data URLs: a list, or one string",
            "examples": [[SQUARE]],
        },
    )
    config = ma.fields.Nested(CaptionConfig)
    prompt = ma.fields.String(metadata=PROMPT)
    is_partial = ma.fields.Boolean(data_key="partial", metadata=PARTIAL)


LOG_PROBABILITY = {"description": "Mean log-probability of the caption's tokens", "examples": [-0.42]}
TOKENS = {"description": "Generated tokens, including the end token", "examples": [9]}
WARNING = {
    "description": "Present while the embedded model replaces the default one",
    "examples": ["captions come from the small embedded model instead, which knows drawn shapes only"],
}


class Score(ma.Schema):
    log_probability = ma.fields.Float(required=True, allow_none=True, metadata=LOG_PROBABILITY)
    tokens = ma.fields.Integer(required=True, metadata=TOKENS)


class ImageCaptions(ma.Schema):
    input = ma.fields.String(
        required=True, metadata={"description": "The uploaded file's name", "examples": ["my_cat.jpg"]}
    )
    captions = ma.fields.List(
        ma.fields.String(),
        metadata={"description": "The best first", "examples": [["a small red star on a grey background"]]},
    )
    scores = ma.fields.List(ma.fields.Nested(Score), metadata={"description": "With `scores`: one for each caption"})
    error = ma.fields.String(
        metadata={
            "description": "With `partial`: why the file has no captions",
            "examples": ["the png image is broken or cut short"],
        }
    )


class CaptionAnswer(Status):
    model = ma.fields.String(
        required=True, metadata={"description": "The model that wrote the captions", "examples": ["embedded"]}
    )
    caption = ma.fields.String(
        required=True,
        allow_none=True,
        metadata=CAPTION | {"description": "The best caption of the first image; null if it cannot be read"},
    )
    results = ma.fields.List(
        ma.fields.Nested(ImageCaptions), required=True, metadata={"description": "One for each file, in upload order"}
    )
    warning = ma.fields.String(metadata=WARNING)


blp = ProtectedBlueprint("caption", __name__, description="The captioner")


@blp.route("/caption/", methods=["POST"])
@blp.form(CaptionForm, json_schema=CaptionBody, content_types={"data": IMAGE_TYPES, "config": "application/json"})
@blp.response(200, CaptionAnswer, headers=image_quota.HEADERS)
@blp.errors(
    HTTPStatus.BAD_REQUEST,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    HTTPStatus.TOO_MANY_REQUESTS,
    HTTPStatus.SERVICE_UNAVAILABLE,
    HTTPStatus.GATEWAY_TIMEOUT,
    messages={HTTPStatus.SERVICE_UNAVAILABLE: BUSY},
)
def caption(
    data: list[UploadedImage | UnreadableFile],
    config: GenerationSettings,
    is_partial: bool,
    prompt: str | None = None,
) -> dict[str, object]:
    """Describe one or more images in words

    Send a form with files, or JSON with files in base64.
    """
    settings = config if prompt is None else replace(config, prompt=prompt)
    with validation_errors("config", top_level=() if prompt is None else ("prompt",)):
        outcomes = _describe_uploads(data, settings, is_partial)
    results = [
        _result(upload.filename, outcome, settings.scores) for upload, outcome in zip(data, outcomes, strict=True)
    ]
    best = next(iter(results[0].get("captions", [])), None)
    return OK | {"model": captioner.name, "caption": best, "results": results} | warning()


Outcome = list[Caption] | UnreadableImage | str  # the captions of a file, or its error


def _describe_uploads(
    uploads: list[UploadedImage | UnreadableFile], settings: GenerationSettings, is_partial: bool
) -> list[Outcome]:
    images = [upload.image for upload in uploads if isinstance(upload, UploadedImage)]
    outcomes: Iterator[list[Caption] | UnreadableImage]
    if is_partial:
        outcomes = iter(describe_readable(images, settings))
    else:
        outcomes = iter(describe(images, settings, lambda index: validation_errors("data", index)))
    return [next(outcomes) if isinstance(upload, UploadedImage) else upload.error for upload in uploads]


def _result(filename: str, outcome: Outcome, with_scores: bool) -> dict[str, Any]:
    if not isinstance(outcome, list):
        return {"input": filename, "error": str(outcome)}
    result: dict[str, Any] = {"input": filename, "captions": [caption.text for caption in outcome]}
    if with_scores:
        result["scores"] = [
            {"log_probability": caption.log_probability, "tokens": caption.tokens} for caption in outcome
        ]
    return result
