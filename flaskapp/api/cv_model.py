"""Resize an image."""

import io
from http import HTTPStatus
from typing import NamedTuple

import marshmallow as ma
from flask import Response, send_file
from marshmallow import validate

from flaskapp import images
from flaskapp.api.application import current_request
from flaskapp.api.errors import validation_errors
from flaskapp.api.fields import Side, Text
from flaskapp.api.image_fields import ImageFile, UploadedImage
from flaskapp.api.protected import ProtectedBlueprint
from flaskapp.serving import client_disconnect

FILE = {"description": f"A {images.FORMATS} file (of an animation the first frame)"}
FORMAT = {"description": "Format of the answer. Default: the format of the upload, or jpeg", "examples": ["png"]}
UPLOAD_SIZE = {
    f"X-Upload-{side}": {
        "description": f"{side} of the upright uploaded image in pixels",
        "schema": {"type": "integer"},
    }
    for side in ("Width", "Height")
}
ATTACHMENT = {"schema": {"type": "string"}, "example": "attachment; filename=image_resize.jpg"}
HEADERS = UPLOAD_SIZE | {"Content-Disposition": ATTACHMENT}


class ResizeForm(ma.Schema):
    data = ImageFile(required=True, metadata=FILE)


class ResizeQuery(ma.Schema):
    h = Side(load_default=28, metadata={"description": "Height of the answer in pixels", "examples": [28]})
    w = Side(load_default=28, metadata={"description": "Width of the answer in pixels", "examples": [28]})
    format = Text(validate=validate.OneOf(list(images.ENDINGS)), metadata=FORMAT)


blp = ProtectedBlueprint("cv_model", __name__, description="The vision model")


@blp.route("/cv_model/", methods=["POST"])
@blp.form(ResizeForm)
@blp.arguments(ResizeQuery, location="query", as_kwargs=True)
@blp.file("The resized image, as an attachment", [f"image/{format}" for format in images.ENDINGS], HEADERS)
@blp.errors(
    HTTPStatus.BAD_REQUEST,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    HTTPStatus.SERVICE_UNAVAILABLE,
    messages={HTTPStatus.SERVICE_UNAVAILABLE: "too many large images at once"},
)
def resize(data: UploadedImage, h: int, w: int, format: str | None = None) -> Response:
    """Resize an image to exactly `w` x `h` pixels

    PNG and WebP keep transparency; JPEG shows it as white. 16-bit images become 8-bit images.
    """
    with validation_errors("data"):
        resized = _resize(data.image, w, h, format)
    name = f"image_resize.{images.ENDINGS[resized.format]}"
    answer = send_file(io.BytesIO(resized.content), f"image/{resized.format}", as_attachment=True, download_name=name)
    answer.headers.update(zip(UPLOAD_SIZE, map(str, resized.upload_size), strict=True))
    return answer


class ResizedImage(NamedTuple):
    content: bytes
    format: str
    upload_size: tuple[int, int]  # width and height of the uploaded image, upright


def _resize(image: images.EncodedImage, width: int, height: int, format: str | None) -> ResizedImage:
    """Decode, resize and encode an image. Stop if the request's client disconnects before it is decoded."""
    request = current_request()
    timings = request.timings
    decoded = image.decoded(for_side=max(height, width), has_left=client_disconnect.watch(request.environ))
    with timings.entering("decode", decoded) as picture:
        format = format or (picture.format if picture.format in images.ENDINGS else "jpeg")
        with timings.timing("resize"):
            content = images.encode(images.resize(picture, width, height), format)
    return ResizedImage(content, format, image.size_of(picture))
