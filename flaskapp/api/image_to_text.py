"""Caption one image for Hugging Face's `InferenceClient.image_to_text`. The body is the image, or JSON."""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from http import HTTPStatus
from typing import Any

import marshmallow as ma
from flask import Response, json, request
from marshmallow import post_load, pre_load
from webargs.flaskparser import is_json_request

from flaskapp.api import image_quota, strict_json
from flaskapp.api.caption import CAPTION, LOG_PROBABILITY, SQUARE, TOKENS, WARNING, CaptionConfig, Generation
from flaskapp.api.describe import describe, warning
from flaskapp.api.errors import messages, validation_errors
from flaskapp.api.fields import NullIsUnset, Text
from flaskapp.api.image_fields import ImageFileOrBase64
from flaskapp.api.protected import ProtectedBlueprint
from flaskapp.captioner import GenerationSettings
from flaskapp.captioner.admission import BUSY
from flaskapp.captioner.generation import Caption
from flaskapp.errors import MalformedJSON
from flaskapp.images import EncodedImage

RAW_TYPES = ("image/*", "application/octet-stream")  # documented; any other type, or none, is accepted too
EXAMPLE = {"inputs": SQUARE, "parameters": {"max_new_tokens": 15}}
INPUTS = {
    "description": "An image file in base64 (either alphabet), or as a data URL",
    "type": "string",
    "format": "byte",
    "examples": [SQUARE],
}


class QueryConfig(CaptionConfig):
    """The settings of `/caption/` in a query string."""

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
    """Generation settings. Those in the two nested members take precedence."""

    generation_parameters = ma.fields.Nested(Generation)
    generate_kwargs = ma.fields.Nested(Generation)

    @post_load
    def make(self, data: dict[str, Any], **_: Any) -> GenerationSettings:
        nested = [data.pop(name, {}) for name in ("generation_parameters", "generate_kwargs")]
        settings = GenerationSettings(**data)
        for each in nested:
            settings = GenerationSettings(**each).over(settings)
        return settings


class ImageToTextInput(NullIsUnset):
    inputs = ImageFileOrBase64(required=True, metadata=INPUTS)
    parameters = ma.fields.Nested(Parameters)
    options = ma.fields.Dict(
        metadata={"description": "Ignored: older clients send it", "examples": [{"wait_for_model": True}]}
    )

    @post_load
    def drop_options(self, data: dict[str, Any], **_: Any) -> dict[str, Any]:
        data.pop("options", None)
        return data


class ImageToTextOutput(ma.Schema):
    """A caption. `log_probability` and `tokens` are present with `scores`."""

    generated_text = ma.fields.String(required=True, metadata=CAPTION | {"description": "A caption"})
    log_probability = ma.fields.Float(allow_none=True, metadata=LOG_PROBABILITY)
    tokens = ma.fields.Integer(metadata=TOKENS)
    warning = ma.fields.String(metadata=WARNING)


class ImageToTextBlueprint(ProtectedBlueprint):
    def shape_error(self, payload: dict[str, Any]) -> dict[str, Any]:
        """Add the member `error`, which Hugging Face's clients show."""
        return payload | {"error": "; ".join(": ".join([*path, message]) for path, message in messages(payload))}


blp = ImageToTextBlueprint("image_to_text", __name__, description="The captioner, for Hugging Face's clients")


@blp.route("/image-to-text", methods=["POST"])
@blp.arguments(QueryConfig, location="query", unknown=ma.RAISE)
@blp.file_or_json(ImageToTextInput, media_types=RAW_TYPES, example=EXAMPLE)
@blp.response(200, ImageToTextOutput(many=True), headers=image_quota.HEADERS)
@blp.errors(
    HTTPStatus.BAD_REQUEST,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    HTTPStatus.TOO_MANY_REQUESTS,
    HTTPStatus.SERVICE_UNAVAILABLE,
    HTTPStatus.GATEWAY_TIMEOUT,
    messages={HTTPStatus.SERVICE_UNAVAILABLE: BUSY},
)
def image_to_text(
    config: GenerationSettings, inputs: EncodedImage, parameters: GenerationSettings | None = None
) -> list[dict[str, object]]:
    """Describe an image in words, for Hugging Face's clients

    The body is the image, of any content type, or JSON with the image. `parameters` in JSON replace those of the query.
    """
    settings = parameters or config
    with _settings_errors(in_json=parameters is not None):
        (captions,) = describe([inputs], settings, lambda _: _image_errors())
    return [_output(caption, with_score=settings.scores) for caption in captions]


def _output(caption: Caption, *, with_score: bool) -> dict[str, object]:
    output: dict[str, object] = {"generated_text": caption.text, **warning()}
    if with_score:
        output |= {"log_probability": caption.log_probability, "tokens": caption.tokens}
    return output


def _settings_errors(*, in_json: bool) -> AbstractContextManager[None]:
    return validation_errors("parameters", location="json") if in_json else validation_errors(location="query")


def _image_errors() -> AbstractContextManager[None]:
    is_json = is_json_request(request)
    return validation_errors("inputs", location="json") if is_json else validation_errors(location="body")


@blp.after_request
def add_error_text(response: Response) -> Response:
    if response.status_code >= HTTPStatus.BAD_REQUEST:
        response.set_data(json.dumps(blp.shape_error(response.get_json())))
    return response
