"""The demo page's controls for the settings of a request, made from the schemas of the requests.

They show the model's defaults. While no model is loaded, the page waits for the defaults of `/readyz`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import marshmallow as ma
from marshmallow import validate

from flaskapp.api.caption import CaptionConfig
from flaskapp.api.cv_model import ResizeQuery
from flaskapp.api.fields import Flag, Side, Text


@dataclass(frozen=True)
class Row:
    """How the page shows a field: its label, and the range and the steps of its slider.

    `empty` is the placeholder of a number without a value.
    """

    name: str
    label: str
    low: float | None = None
    high: float | None = None
    step: float = 1
    empty: str = "auto"


@dataclass(frozen=True)
class Control:
    """One field of a request. `kind` is "number", "flag", "text" or "choice". Without a slider, `low` is None.

    `default` is None if it is unknown, or if there is none.
    """

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
    empty: str


PROMPT = Row("prompt", "Prompt")
SEARCH = (
    Row("num_return_sequences", "Captions", 1, 8),
    Row("num_beams", "Beams", 1, 16),
    Row("max_length", "Longest caption", 2, 64),
)
ADVANCED = (
    Row("max_new_tokens", "Longest, without prompt"),
    Row("min_length", "Shortest caption", 0, 64),
    Row("length_penalty", "Length penalty", -2, 4, 0.1),
    Row("repetition_penalty", "Repetition penalty", 0.5, 3, 0.1),
    Row("no_repeat_ngram_size", "No repeated run", 0, 6),
    Row("early_stopping", "Stop early"),
    Row("do_sample", "Draw at random"),
    Row("scores", "Show scores"),
)
SAMPLING = (
    Row("temperature", "Temperature", 0.1, 3, 0.1),
    Row("top_k", "Likeliest tokens", 0, 200),
    Row("top_p", "Likeliest share", 0.05, 1, 0.05),
    Row("seed", "Seed", empty="any"),
)
SIZE = (Row("w", "Width", 1, 512), Row("h", "Height", 1, 512))


def for_captions(rows: tuple[Row, ...], defaults: Mapping[str, Any]) -> list[Control]:
    return [_control(row, CaptionConfig().fields[row.name], {}, defaults.get(row.name)) for row in rows]


def for_size(config: Mapping[str, Any]) -> list[Control]:
    fields = ResizeQuery().fields
    return [_control(row, fields[row.name], config, fields[row.name].load_default) for row in SIZE]


def _control(row: Row, field: ma.fields.Field[Any], config: Mapping[str, Any], default: Any) -> Control:
    minimum, maximum = _bounds(field, config)
    return Control(
        name=row.name,
        label=row.label,
        help=field.metadata["description"],
        kind=_kind(field),
        default=default,
        minimum=minimum,
        maximum=maximum,
        low=row.low,
        high=None if row.high is None or maximum is None else min(row.high, maximum),
        step=row.step,
        empty=row.empty,
    )


def _kind(field: ma.fields.Field[Any]) -> str:
    match field:
        case ma.fields.Integer() | ma.fields.Float():
            return "number"
        case Flag():
            return "flag"
        case Text():
            return "text"
        case _:
            return "choice"


def _bounds(field: ma.fields.Field[Any], config: Mapping[str, Any]) -> tuple[float | None, float | None]:
    if isinstance(field, Side):
        keywords = field.keywords(config)
        return keywords["minimum"], keywords["maximum"]
    for check in field.validators:
        if isinstance(check, validate.Range):
            return check.min, check.max
    return None, None
