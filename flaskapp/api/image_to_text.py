"""Caption one image as Hugging Face's `InferenceClient.image_to_text` asks for it: by its bytes, or by JSON."""

from collections.abc import Callable, Iterator, Mapping
from http import HTTPStatus
from typing import Any

import marshmallow as ma
import numpy as np
from flask import Response, current_app, json, request
from marshmallow import ValidationError, post_load, pre_load
from webargs.flaskparser import is_json_request

from flaskapp.api import inline_file, strict_json
from flaskapp.api.caption import CAPTION, LOG_PROBABILITY, TOKENS, WARNING, CaptionConfig, Generation, warning
from flaskapp.api.cv_model import BINARY
from flaskapp.api.fields import NullIsUnset, Text
from flaskapp.api.observed import trace_of_request
from flaskapp.api.protected import ProtectedBlueprint
from flaskapp.api.unprocessable import refusing, sentence
from flaskapp.captioner import GenerationSettings, captioner
from flaskapp.captioner.generation import Caption
from flaskapp.counted import Counted
from flaskapp.errors import MalformedJSON, UnreadableImage
from flaskapp.images import EncodedImage
from flaskapp.serving import departure

RAW_TYPES = ("image/*", "application/octet-stream")  # or none, or another: the content decides
# A red square on white.
SQUARE = (
    "iVBORw0KGgoAAAANSUhEUgAAABAAAAAQAQMAAAAlPW0iAAAABlBMVEX////cHh7/Hx2WAAAAFElEQVR42mNgQAL8H5gYGDARMgAAI20BDofI/jkA"
    "AAAASUVORK5CYII="
)
INPUTS = {
    "description": "An image file in base64, of either alphabet, or as a data URL",
    "type": "string",
    "format": "byte",
    "examples": [SQUARE],
}


class QueryConfig(CaptionConfig):
    """The settings of `/caption/`, each as text."""

    @pre_load
    def drop_nulls(self, data: Mapping[str, str], **options: Any) -> Any:
        texts = [name for name, field in self.fields.items() if isinstance(field, Text)]
        read = {name: text if name in texts else _scalar(text) for name, text in data.items()}
        return super().drop_nulls(read, **options)


def _scalar(text: str) -> Any:
    try:
        value = strict_json.loads(text)
    except MalformedJSON:
        return text
    return value if isinstance(value, bool | int | float | None) else text


class Parameters(Generation):
    """Settings here, or in one of two members, which take precedence over those beside them."""

    generation_parameters = ma.fields.Nested(Generation)
    generate_kwargs = ma.fields.Nested(Generation)

    @post_load
    def make(self, data: dict[str, Any], **_: Any) -> GenerationSettings:
        inner = [data.pop(name, {}) for name in ("generation_parameters", "generate_kwargs")]
        settings = GenerationSettings(**data)
        for each in inner:
            settings = GenerationSettings(**each).over(settings)
        return settings


class ImageFileOrBase64(ma.fields.Field[EncodedImage]):
    """One image file of at most MAX_MEGAPIXELS: its bytes, or text that has them in base64."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> EncodedImage:
        if not isinstance(value, bytes | str):
            raise ValidationError("Not a string.")
        try:
            data = value if isinstance(value, bytes) else inline_file.decode(value)
        except ValueError as error:
            raise ValidationError(str(error)) from error
        try:
            return EncodedImage(data, current_app.config["MAX_MEGAPIXELS"])
        except UnreadableImage as error:
            raise ValidationError(sentence(error)) from error


class ImageToTextInput(NullIsUnset):
    inputs = ImageFileOrBase64(required=True, metadata=INPUTS)
    parameters = ma.fields.Nested(Parameters)


class ImageToTextOutput(ma.Schema):
    """A caption. `log_probability` and `tokens` are there if `scores` was asked for."""

    generated_text = ma.fields.String(required=True, metadata=CAPTION | {"description": "A caption"})
    log_probability = ma.fields.Float(allow_none=True, metadata=LOG_PROBABILITY)
    tokens = ma.fields.Integer(metadata=TOKENS)
    warning = ma.fields.String(metadata=WARNING)


blp = ProtectedBlueprint("image_to_text", __name__, description="The captioner, for Hugging Face's clients")


@blp.route("/image-to-text", methods=["POST"])
@blp.doc(
    requestBody={
        "content": {"application/json": {"example": {"inputs": SQUARE, "parameters": {"max_new_tokens": 15}}}}
        | {media_type: {"schema": BINARY} for media_type in RAW_TYPES}
    }
)
@blp.arguments(QueryConfig, location="query", unknown=ma.RAISE)
@blp.arguments(ImageToTextInput, location="inputs", as_kwargs=True)
@blp.response(200, ImageToTextOutput(many=True))
@blp.errors(
    HTTPStatus.BAD_REQUEST,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    HTTPStatus.SERVICE_UNAVAILABLE,
    HTTPStatus.GATEWAY_TIMEOUT,
)
def image_to_text(
    config: GenerationSettings, inputs: EncodedImage, parameters: GenerationSettings | None = None
) -> list[dict[str, object]]:
    """Describe an image in words, as Hugging Face's clients ask for it

    The body is the image, of whatever content type, or JSON that holds it. `parameters` in JSON replace the query's.
    """
    has_left = departure.watch(request.environ)
    with refusing(location="query") if parameters is None else refusing("parameters", location="json"):
        images = Counted(1, lambda: _decode(inputs, has_left))
        (captions,) = captioner.describe(images, parameters or config, has_left, trace=trace_of_request())
    return [_output(caption, with_score=(parameters or config).scores) for caption in captions]


def _output(caption: Caption, *, with_score: bool) -> dict[str, object]:
    output: dict[str, object] = {"generated_text": caption.text, **warning()}
    if with_score:
        output |= {"log_probability": caption.log_probability, "tokens": caption.tokens}
    return output


def _decode(image: EncodedImage, has_left: Callable[[], bool]) -> Iterator[np.ndarray]:
    refusal = refusing("inputs", location="json") if is_json_request(request) else refusing(location="body")
    with refusal, image.decoded(captioner.input_side, has_left=has_left) as picture:
        yield picture.flatten()


@blp.after_request
def add_sentence(response: Response) -> Response:
    """Say what is wrong in the member that Hugging Face's clients show."""
    if response.status_code >= HTTPStatus.BAD_REQUEST:
        payload = response.get_json()
        payload["error"] = (
            payload.get("message") or "; ".join(_sentences(payload.get("errors", {}))) or payload["status"]
        )
        response.set_data(json.dumps(payload))
    return response


def _sentences(errors: Any, *path: str) -> Iterator[str]:
    """What `errors` says, each message with the way that leads to it: `query: num_beams: Not a valid integer.`"""
    if isinstance(errors, dict):
        for name, inner in errors.items():
            yield from _sentences(inner, *path, str(name))
    else:
        yield ": ".join([*path, " ".join(errors)])
