"""Marshmallow fields that accept the documented types only, and convert no others to them."""

import codecs
import re
from collections.abc import Callable, Mapping
from typing import Any

import marshmallow as ma
from flask import current_app
from flask_smorest.fields import Upload
from marshmallow import ValidationError, pre_load
from werkzeug.datastructures import FileStorage

from flaskapp.api import strict_json
from flaskapp.errors import MalformedJSON
from flaskapp.jobs import NamedFile

Config = Mapping[str, Any]

# Characters of a text in a query. gunicorn's request line has up to 4,094 bytes, and a character may need twelve
# ("%F0%9F%98%80").
MAX_QUERY = 320

INVALID_TEXT = re.compile("[\0\ud800-\udfff]")


class NullIsUnset(ma.Schema):
    """A schema in which `null` for an optional member is the same as leaving the member out."""

    def on_bind_field(self, field_name: str, field_obj: ma.fields.Field[Any]) -> None:
        field_obj.allow_none = not field_obj.required  # documents `null` in OpenAPI

    @pre_load
    def drop_nulls(self, data: Any, **_: Any) -> Any:
        if not isinstance(data, Mapping):
            return data
        optional = {field.data_key or name for name, field in self.fields.items() if not field.required}
        return {name: value for name, value in data.items() if value is not None or name not in optional}


class Text(ma.fields.String):
    """Text without NUL or unpaired surrogates, which JSON can spell but databases and UTF-8 cannot hold."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        text = str(super()._deserialize(value, attr, data, **kwargs))
        if INVALID_TEXT.search(text):
            raise ValidationError("Not valid text.")
        return text

    @staticmethod
    def keywords(config: Config) -> dict[str, Any]:
        return {"pattern": r"^[^\u0000]*$"}  # a JSON Schema need not exclude surrogates: they are no characters


class JobId(Text):
    """The id of a caption job: a UUID in lower case."""

    PATTERN = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        text = super()._deserialize(value, attr, data, **kwargs)
        if not re.fullmatch(self.PATTERN, text):
            raise ValidationError("Not the id of a job.")
        return text

    @staticmethod
    def keywords(config: Config) -> dict[str, Any]:
        return {"pattern": f"^{JobId.PATTERN}$"}


class DecimalInteger(ma.fields.Integer):
    """An integer in a path or a query: ASCII digits after an optional minus. `int()` also accepts "1_000" and " 5 "."""

    def _validated(self, value: Any) -> Any:
        if not re.fullmatch(r"-?[0-9]{1,4000}", str(value)):
            raise self.make_error("invalid", input=value)
        return super()._validated(value)


class WholeNumber(ma.fields.Integer):
    """A JSON integer, also written as 16.0, as in JSON Schema. A string is not accepted."""

    def _validated(self, value: Any) -> Any:
        if not (isinstance(value, int) or (isinstance(value, float) and value.is_integer())):
            raise self.make_error("invalid", input=value)
        return super()._validated(value)


class Number(ma.fields.Float):
    """A JSON number. A string is not accepted."""

    def _validated(self, value: Any) -> Any:
        if not isinstance(value, int | float):
            raise self.make_error("invalid", input=value)
        return super()._validated(value)


class Flag(ma.fields.Boolean):
    """JSON's true or false. 1 and "yes" are not accepted."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> bool:
        if not isinstance(value, bool):
            raise self.make_error("invalid", input=value)
        return value


class FormFlag(Flag):
    """JSON's true or false, or the text "true" or "false" of a form."""

    TRUE = (True, "true")

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> bool:
        if value in ("true", "false"):
            return bool(value == "true")
        return super()._deserialize(value, attr, data, **kwargs)


class EarlyStopping(ma.fields.Field[Any]):
    """true, false or "never"."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> Any:
        if value is True or value is False or value == "never":
            return value
        raise ValidationError('Must be true, false or "never".')

    @staticmethod
    def keywords(config: Config) -> dict[str, Any]:
        return {"enum": [True, False, "never", None]}  # null: not set


class Side(DecimalInteger):
    """A side of an image in pixels, at most MAX_SIDE."""

    def _validated(self, value: Any) -> Any:
        pixels = super()._validated(value)
        bounds = self.keywords(current_app.config)
        if not bounds["minimum"] <= pixels <= bounds["maximum"]:
            raise ValidationError("Must be from {minimum} to {maximum} pixels.".format(**bounds))
        return pixels

    @staticmethod
    def keywords(config: Config) -> dict[str, Any]:
        return {"minimum": 1, "maximum": config["MAX_SIDE"]}


class JobFiles(ma.fields.List[NamedFile]):
    """Uploaded files: up to MAX_JOB_IMAGES, but not more than a form may have parts."""

    def __init__(self, **options: Any) -> None:
        super().__init__(Upload(), **options)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> list[NamedFile | None]:
        bounds = self.keywords(current_app.config)
        if len(value) > bounds["maxItems"]:
            raise ValidationError("Send at most {maxItems} files, or a zip of them.".format(**bounds))
        for number, file in enumerate(value):
            if not isinstance(file, FileStorage):
                raise ValidationError({number: ["Not a file: the part has no filename."]})
        return [NamedFile(file.filename or "", file.read()) for file in value]

    @staticmethod
    def keywords(config: Config) -> dict[str, Any]:
        return {"minItems": 1, "maxItems": min(config["MAX_JOB_IMAGES"], config["MAX_FORM_PARTS"] - 1)}


class JSONPart(ma.fields.Nested):
    """A part of a multipart form that holds a JSON object, as a text field or as a file.

    An empty part and `null` are an empty object. In a JSON body the field is the object itself.
    """

    def _deserialize(self, value: Any, attr: str | None, data: Any, partial: Any = None, **kwargs: Any) -> Any:
        if isinstance(value, list):
            raise ValidationError("Send this part once.")
        if isinstance(value, dict):
            return super()._deserialize(value, attr, data, partial, **kwargs)
        if not isinstance(value, str | FileStorage):
            raise ValidationError("Not an object.")
        # `surrogateescape` restores bytes that are not UTF-8, so that the JSON parser rejects them.
        text = value.read() if isinstance(value, FileStorage) else value.encode(errors="surrogateescape")
        try:
            value = strict_json.loads(text) if text.removeprefix(codecs.BOM_UTF8).strip() else None
        except MalformedJSON as error:
            raise MalformedJSON(f"{attr}: {error}") from error
        return super()._deserialize({} if value is None else value, attr, data, partial, **kwargs)


def document_with(config: Config) -> Callable[..., dict[str, Any]]:
    """Return a hook for apispec that adds the JSON Schema keywords of the fields that have `keywords`."""

    def document(_converter: Any, field: Any, **_: Any) -> dict[str, Any]:
        return field.keywords(config) if hasattr(field, "keywords") else {}

    return document
