"""Marshmallow fields for images: files of a form, and files in a JSON body, as text or by their addresses."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import marshmallow as ma
from flask import current_app, g
from flask_smorest.fields import Upload
from marshmallow import ValidationError
from werkzeug.datastructures import FileStorage

from flaskapp.api import inline_file
from flaskapp.api.errors import sentence
from flaskapp.api.fields import Config, FormFlag
from flaskapp.errors import NotFetched, UnreadableImage, UnsupportedImageFormat
from flaskapp.fetch import Allowance, fetch
from flaskapp.images import EncodedImage


class Base64File(NamedTuple):
    """A file in a JSON body, where all else is text: in base64, or as a data URL."""

    text: str


class UploadedImage(NamedTuple):
    filename: str
    image: EncodedImage


class UnreadableFile(NamedTuple):
    """An uploaded file that is no image, where the client asks for the captions of the others."""

    filename: str
    error: str


class ImageFile(Upload):
    """One uploaded image file of at most MAX_MEGAPIXELS; its pixels are decoded by the view."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> UploadedImage:
        if isinstance(value, list):
            raise ValidationError("Send one file, not several.")
        if isinstance(value, Base64File):
            return UploadedImage("", _image(_decoded(value.text)))
        if not isinstance(value, FileStorage):
            raise ValidationError("Not a file: the part has no filename.")
        return UploadedImage(value.filename or "", _image(value.read()))


class ImageFileOrBase64(ma.fields.Field[EncodedImage]):
    """One image file of at most MAX_MEGAPIXELS: its bytes, or text that has them in base64 or in a data URL."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> EncodedImage:
        if not isinstance(value, bytes | str):
            raise ValidationError("Not a string.")
        return _image(value if isinstance(value, bytes) else _decoded(value))


def _decoded(text: str) -> bytes:
    hosts = current_app.config["FETCH_HOSTS"]
    try:
        if hosts and text[:8].lower().startswith(("https:", "http:")):
            if "allowance" not in g:
                g.allowance = Allowance(hosts, current_app.config["MAX_CONTENT_LENGTH"])
            return fetch(text, g.allowance)
        return inline_file.decode(text)
    except NotFetched as error:
        raise ValidationError(sentence(error)) from error
    except ValueError as error:
        raise ValidationError(str(error)) from error


def _image(data: bytes) -> EncodedImage:
    try:
        return EncodedImage(data, current_app.config["MAX_MEGAPIXELS"])
    except UnreadableImage as error:
        raise ValidationError(sentence(error)) from error


class ImageFiles(ma.fields.List[UploadedImage | UnreadableFile]):
    """From one to MAX_IMAGES uploaded image files. What is wrong with one is named by its place.

    Where the field `partial` beside it is true, a file that is no image is an UnreadableFile, and the others count.
    """

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> list[Any]:
        if not isinstance(value, list):
            raise ValidationError("Neither a string nor a list of strings.")
        bounds = self.keywords(current_app.config)
        if not value:
            raise ValidationError("Send at least one image.")
        if len(value) > bounds["maxItems"]:
            raise ValidationError("Send at most {maxItems} images at once.".format(**bounds))
        is_partial = isinstance(data, Mapping) and data.get("partial") in FormFlag.TRUE
        images: list[UploadedImage | UnreadableFile] = []
        errors: dict[int, Any] = {}
        for index, file in enumerate(value):
            try:
                images.append(self.inner.deserialize(file, **kwargs))
            except (ValidationError, UnsupportedImageFormat) as error:
                if is_partial:
                    images.append(UnreadableFile(getattr(file, "filename", None) or "", _line(error)))
                elif isinstance(error, ValidationError):
                    errors[index] = error.messages
                else:  # has a status of its own
                    place = f"{attr}.{index}: " if len(value) > 1 else ""
                    raise UnsupportedImageFormat(f"{place}{error}") from error
        if errors:
            raise ValidationError(errors)
        return images

    @staticmethod
    def keywords(config: Config) -> dict[str, Any]:
        return {"minItems": 1, "maxItems": config["MAX_IMAGES"]}


class Base64Images(ma.fields.List[str]):
    """Image files in base64 or as data URLs, still as text: `least` to MAX_IMAGES of them."""

    def __init__(self, least: int = 0, **options: Any) -> None:
        super().__init__(ma.fields.String(metadata={"format": "byte"}), **options)
        self.least = least

    def keywords(self, config: Config) -> dict[str, Any]:
        return {"minItems": self.least, "maxItems": config["MAX_IMAGES"]}


def _line(error: Exception) -> str:
    """What is wrong with one file, as jobs say it."""
    return " ".join(map(str, error.messages)) if isinstance(error, ValidationError) else str(error)
