"""Caption images."""

from collections.abc import Iterator
from http import HTTPStatus
from typing import Any

import marshmallow as ma
import numpy as np
from flask import request
from marshmallow import ValidationError, post_load, validate

from flaskapp.api.cv_model import FILE
from flaskapp.api.fields import (
    EarlyStopping,
    Flag,
    ImageFile,
    ImageFiles,
    JSONPart,
    NullIsUnset,
    Number,
    UploadedImage,
    WholeNumber,
)
from flaskapp.api.observed import trace_of_request
from flaskapp.api.protected import ProtectedBlueprint
from flaskapp.api.status import OK, Status
from flaskapp.api.unprocessable import refusing
from flaskapp.captioner import GenerationSettings, captioner
from flaskapp.captioner.generation import MAX_BEAMS, MAX_LENGTH
from flaskapp.counted import Counted
from flaskapp.errors import InvalidGeneration
from flaskapp.serving import departure

CAPTION = {"description": "The best caption of the first image", "examples": ["a small red star on a grey background"]}
IMAGE_TYPES = "image/jpeg, image/png, image/webp, image/gif, image/bmp"


def integer(default: int | None, low: int, high: int, description: str, example: int) -> WholeNumber:
    return WholeNumber(
        load_default=default,
        validate=validate.Range(low, high),
        metadata={"description": description, "examples": [example]},
    )


def _number(default: float, low: float, high: float, description: str, example: float) -> Number:
    return Number(
        load_default=default,
        validate=validate.Range(low, high),
        metadata={"description": description, "examples": [example]},
    )


class Generation(NullIsUnset):
    """The names, meaning and defaults are those of transformers' `generate`, or the course's."""

    max_length = integer(16, 2, MAX_LENGTH, "Tokens of a caption, start and end included", 16)
    num_beams = integer(8, 1, MAX_BEAMS, "Beams of the search; 1 is greedy", 8)
    num_return_sequences = integer(1, 1, MAX_BEAMS, "Captions for each image, the best first", 1)
    min_length = integer(0, 0, MAX_LENGTH, "Tokens that a caption has at least", 0)
    length_penalty = _number(1.0, -10, 10, "Above 0 favours longer captions (beams only)", 1.0)
    early_stopping = EarlyStopping(
        load_default=False, metadata={"description": "When a beam search ends", "examples": [False]}
    )
    no_repeat_ngram_size = integer(0, 0, MAX_LENGTH, "No run of so many tokens comes twice; 0: off", 0)
    repetition_penalty = _number(1.0, 0.1, 10, "Above 1 discourages a token from coming again", 1.0)
    do_sample = Flag(load_default=False, metadata={"description": "Draw tokens at random", "examples": [False]})
    temperature = _number(1.0, 0, 100, "Above 1 draws more evenly (with do_sample, from 0.01)", 1.0)
    top_k = integer(50, 0, 1_000_000, "Draw from the likeliest so many tokens; 0: all (with do_sample)", 50)
    top_p = _number(1.0, 0, 1, "Draw from the likeliest tokens that sum to this (with do_sample, from 0.01)", 1.0)
    seed = integer(None, 0, 2**32 - 1, "Makes a draw repeatable (with do_sample)", 7)


class CaptionConfig(Generation):
    @post_load
    def make(self, data: dict[str, Any], **_: Any) -> GenerationSettings:
        try:
            return GenerationSettings(**data)
        except InvalidGeneration as error:
            raise ValidationError(str(error), error.field) from error


class CaptionForm(ma.Schema):
    data = ImageFiles(ImageFile(), required=True, metadata=FILE)
    config = JSONPart(CaptionConfig, load_default=GenerationSettings())


class ImageCaptions(ma.Schema):
    input = ma.fields.String(
        required=True, metadata={"description": "The uploaded file's name", "examples": ["my_cat.jpg"]}
    )
    captions = ma.fields.List(
        ma.fields.String(),
        required=True,
        metadata={"description": "The best first", "examples": [["a small red star on a grey background"]]},
    )


class CaptionAnswer(Status):
    model = ma.fields.String(
        required=True, metadata={"description": "The model that wrote the captions", "examples": ["embedded"]}
    )
    caption = ma.fields.String(required=True, metadata=CAPTION)
    results = ma.fields.List(
        ma.fields.Nested(ImageCaptions), required=True, metadata={"description": "One for each file, in their order"}
    )


blp = ProtectedBlueprint("caption", __name__, description="The captioner")


@blp.route("/caption/", methods=["POST"])
@blp.doc(
    requestBody={
        "content": {
            "multipart/form-data": {
                "encoding": {"data": {"contentType": IMAGE_TYPES}, "config": {"contentType": "application/json"}}
            }
        }
    }
)
@blp.arguments(CaptionForm, location="multipart", as_kwargs=True)
@blp.response(200, CaptionAnswer)
@blp.errors(
    HTTPStatus.BAD_REQUEST,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    HTTPStatus.SERVICE_UNAVAILABLE,
    HTTPStatus.GATEWAY_TIMEOUT,
)
def caption(data: list[UploadedImage], config: GenerationSettings) -> dict[str, object]:
    """Describe one or more images in words"""
    with refusing("config"):
        images = Counted(len(data), lambda: _decode_one_by_one(data))
        captions = captioner.caption(images, config, departure.watch(request.environ), trace=trace_of_request())
    results = [{"input": image.filename, "captions": texts} for image, texts in zip(data, captions, strict=True)]
    return OK | {"model": captioner.name, "caption": captions[0][0], "results": results}


def _decode_one_by_one(data: list[UploadedImage]) -> Iterator[np.ndarray]:
    """Pixels in RGB. Of many images they do not lie in memory at once."""
    for index, upload in enumerate(data):
        with refusing("data", index), upload.image.decoded() as picture:
            yield picture.flatten()
