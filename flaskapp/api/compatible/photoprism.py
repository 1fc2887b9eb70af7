"""PhotoPrism's Vision API, by which the photo library captions its pictures.

Reference: PhotoPrism's documentation of its Vision API, and internal/ai/vision of its repository (`ApiRequest` and
`ApiResponse`). Other members are ignored.
"""

from http import HTTPStatus
from typing import Any

import marshmallow as ma
from marshmallow import post_load

from flaskapp.api import image_quota
from flaskapp.api.caption import SQUARE
from flaskapp.api.compatible import chat
from flaskapp.api.compatible.blueprint import CompatibleBlueprint
from flaskapp.api.describe import warning
from flaskapp.api.fields import NullIsUnset, Text
from flaskapp.api.image_fields import Base64Images
from flaskapp.captioner import GenerationSettings, captioner

IMAGES = {
    "description": "Data URLs of one or more pictures; the caption has one line for each",
    "examples": [[f"data:image/png;base64,{SQUARE}"]],
}


class VisionRequest(NullIsUnset):
    class Meta:
        unknown = ma.EXCLUDE

    id = Text(load_default="", metadata={"description": "The answer repeats it", "examples": ["b5a1"]})
    model = Text(metadata=chat.ANY_MODEL)
    prompt = Text(load_default="", metadata=chat.PROMPT)
    images = Base64Images(min_items=1, required=True, metadata=IMAGES)
    options = ma.fields.Nested(chat.Options, load_default=dict)

    @post_load
    def make(self, data: dict[str, Any], **_: Any) -> dict[str, Any]:
        """Return the arguments of the view."""
        found = [chat.FoundImage(("images", index), text) for index, text in enumerate(data["images"])]
        options = dict(data["options"])
        stops = options.pop("stop", ())
        return {
            "id": data["id"],
            "question": chat.read_question(found, data["prompt"], "images", stops),
            "settings": chat.generation_settings(**options),
        }


class VisionModel(ma.Schema):
    name = ma.fields.String(required=True, metadata=chat.MODEL)
    version = ma.fields.String(required=True, metadata={"description": "Of the weights", "examples": ["cbfba14181b9"]})


class VisionCaption(ma.Schema):
    text = ma.fields.String(required=True, metadata=chat.TEXT)


class VisionResult(ma.Schema):
    caption = ma.fields.Nested(VisionCaption, required=True)


class VisionAnswer(ma.Schema):
    id = ma.fields.String(required=True, metadata={"description": "The `id` of the request", "examples": ["b5a1"]})
    code = ma.fields.Integer(required=True, metadata={"description": "The HTTP status", "examples": [200]})
    model = ma.fields.Nested(VisionModel, required=True)
    result = ma.fields.Nested(VisionResult, required=True)
    warning = ma.fields.String(metadata=chat.WARNING)


class VisionError(ma.Schema):
    code = ma.fields.Integer(required=True, metadata={"description": "The HTTP status", "examples": [400]})
    error = ma.fields.String(required=True, metadata=chat.ERROR)


blp = CompatibleBlueprint(
    "photoprism",
    __name__,
    description="The captioner, for PhotoPrism",
    error_schema=VisionError,
    reshape=lambda status, message, _: {"code": status, "error": message},
)


@blp.route("/api/v1/vision/caption", methods=["POST"])
@blp.json_body(VisionRequest, example={"id": "b5a1", "images": IMAGES["examples"][0]})
@blp.response(200, VisionAnswer, headers=image_quota.HEADERS)
@blp.errors(*chat.ERRORS, messages=chat.MESSAGES)
def caption(id: str, question: chat.Question, settings: GenerationSettings) -> dict[str, Any]:
    """Describe a picture in words, for PhotoPrism"""
    answer = chat.answer_question(question, settings)
    return {
        "id": id,
        "code": HTTPStatus.OK,
        "model": {"name": captioner.name, "version": chat.model_version()},
        "result": {"caption": {"text": answer.text()}},
        **warning(*answer.warnings),
    }
