"""Marshmallow fields for images: files of a form; base64, data URLs and URLs in JSON."""

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
    """A file in a JSON body: base64, a data URL or a URL. The type tells it from a form's text."""

    text: str


class UploadedImage(NamedTuple):
    filename: str
    image: EncodedImage


class UnreadableFile(NamedTuple):
    """An uploaded file that is no image, in a request with `partial`."""

    filename: str
    error: str


class ImageFile(Upload):
    """One uploaded image file of at most MAX_MEGAPIXELS. Its pixels are not decoded yet."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> UploadedImage:
        if isinstance(value, list):
            raise ValidationError("Send one file, not several.")
        if isinstance(value, Base64File):
            return UploadedImage("", _image(_decode(value.text)))
        if not isinstance(value, FileStorage):
            raise ValidationError("Not a file: the part has no filename.")
        return UploadedImage(value.filename or "", _image(value.read()))


class ImageFileOrBase64(ma.fields.Field[EncodedImage]):
    """One image file of at most MAX_MEGAPIXELS: bytes, base64, a data URL or a URL."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> EncodedImage:
        if not isinstance(value, bytes | str):
            raise ValidationError("Not a string.")
        return _image(value if isinstance(value, bytes) else _decode(value))


def _decode(text: str) -> bytes:
    """Return the bytes of a file from base64, from a data URL, or from a URL of one of the FETCH_HOSTS."""
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
    """From one to MAX_IMAGES uploaded image files. Errors name the index of their file.

    If the request's field `partial` is true, a file that is no image becomes an UnreadableFile.
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
                    images.append(UnreadableFile(getattr(file, "filename", None) or "", _error_text(error)))
                elif isinstance(error, ValidationError):
                    errors[index] = error.messages
                else:  # 415, not 422
                    field = f"{attr}.{index}: " if len(value) > 1 else ""
                    raise UnsupportedImageFormat(f"{field}{error}") from error
        if errors:
            raise ValidationError(errors)
        return images

    @staticmethod
    def keywords(config: Config) -> dict[str, Any]:
        return {"minItems": 1, "maxItems": config["MAX_IMAGES"]}


class Base64Images(ma.fields.List[str]):
    """A list of `min_items` to MAX_IMAGES files in base64 or as data URLs. It is not decoded yet."""

    def __init__(self, min_items: int = 0, **options: Any) -> None:
        super().__init__(ma.fields.String(metadata={"format": "byte"}), **options)
        self.min_items = min_items

    def keywords(self, config: Config) -> dict[str, Any]:
        return {"minItems": self.min_items, "maxItems": config["MAX_IMAGES"]}


def _error_text(error: Exception) -> str:
    """Return the error of one file in one line, as in the results of jobs."""
    return " ".join(map(str, error.messages)) if isinstance(error, ValidationError) else str(error)
