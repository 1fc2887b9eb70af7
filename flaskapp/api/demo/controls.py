"""The page's controls for the settings of a request, made from the schemas that check those requests."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import marshmallow as ma
from marshmallow import validate

from flaskapp.api.caption import CaptionConfig
from flaskapp.api.cv_model import ResizeQuery
from flaskapp.api.fields import Flag, Side


@dataclass(frozen=True)
class Row:
    """What the page shows for a field: its label, and the part of its range that a slider covers, in such steps."""

    name: str
    label: str
    low: float | None = None
    high: float | None = None
    step: float = 1


@dataclass(frozen=True)
class Control:
    """One field of a request: `kind` is "number", "flag" or "choice". Where there is no slider, `low` is None."""

    name: str
    label: str
    help: str
    kind: str
    default: Any
    minimum: float | None
    maximum: float | None
    low: float | None
    high: float | None
    step: float


SEARCH = (
    Row("num_return_sequences", "Captions", 1, 8),
    Row("num_beams", "Beams", 1, 16),
    Row("max_length", "Longest caption", 2, 64),
)
FINER = (
    Row("min_length", "Shortest caption", 0, 64),
    Row("length_penalty", "Length penalty", -2, 4, 0.1),
    Row("repetition_penalty", "Repetition penalty", 0.5, 3, 0.1),
    Row("no_repeat_ngram_size", "No repeated run", 0, 6),
    Row("early_stopping", "Stop early"),
    Row("do_sample", "Draw at random"),
)
DRAWING = (
    Row("temperature", "Temperature", 0.1, 3, 0.1),
    Row("top_k", "Likeliest tokens", 0, 200),
    Row("top_p", "Likeliest share", 0.05, 1, 0.05),
    Row("seed", "Seed"),
)
SIZE = (Row("w", "Width", 1, 512), Row("h", "Height", 1, 512))


def for_captions(rows: tuple[Row, ...]) -> list[Control]:
    return [_control(row, CaptionConfig().fields[row.name], {}) for row in rows]


def for_size(config: Mapping[str, Any]) -> list[Control]:
    return [_control(row, ResizeQuery().fields[row.name], config) for row in SIZE]


def _control(row: Row, field: ma.fields.Field[Any], config: Mapping[str, Any]) -> Control:
    minimum, maximum = _bounds(field, config)
    is_number = isinstance(field, ma.fields.Integer | ma.fields.Float)
    return Control(
        name=row.name,
        label=row.label,
        help=field.metadata["description"],
        kind="number" if is_number else "flag" if isinstance(field, Flag) else "choice",
        default=field.load_default,
        minimum=minimum,
        maximum=maximum,
        low=row.low,
        high=None if row.high is None or maximum is None else min(row.high, maximum),
        step=row.step,
    )


def _bounds(field: ma.fields.Field[Any], config: Mapping[str, Any]) -> tuple[float | None, float | None]:
    if isinstance(field, Side):
        keywords = field.keywords(config)
        return keywords["minimum"], keywords["maximum"]
    for check in field.validators:
        if isinstance(check, validate.Range):
            return check.min, check.max
    return None, None
