"""Writes captions as text, JSON lines or CSV."""

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import IO, NamedTuple

from flaskapp.cli.captioners import Captioned
from flaskapp.cli.terminal import printable


class Format(NamedTuple):
    head: Callable[[int], str]  # the argument: captions per image
    lines: Callable[[Path, Captioned], str]


def _text(path: Path, captioned: Captioned) -> str:
    return "".join(f"{printable(path)}: {printable(caption)}\n" for caption in captioned.captions)


def _json(path: Path, captioned: Captioned) -> str:
    line = {"input": str(path), "model": captioned.model, "captions": captioned.captions}
    return json.dumps(line if captioned.scores is None else line | {"scores": captioned.scores}) + "\n"


def _csv_head(captions: int) -> str:
    return _csv_line("input", "model", "caption", *(f"caption_{number}" for number in range(2, captions + 1)))


def _csv(path: Path, captioned: Captioned) -> str:
    return _csv_line(str(path), captioned.model, *captioned.captions)


def _csv_line(*cells: str) -> str:
    line = io.StringIO()
    csv.writer(line, lineterminator="\n").writerow(cells)
    return line.getvalue()


FORMATS = {
    "text": Format(lambda _: "", _text),
    "json": Format(lambda _: "", _json),
    "csv": Format(_csv_head, _csv),
}


class Output:
    """Writes to a binary stream, and flushes it after each image.

    The header depends on the first image, because the model's defaults may decide the number of captions per image.
    """

    def __init__(self, stream: IO[bytes], format: str) -> None:
        self._stream = stream
        self._format = FORMATS[format]
        self._has_head = False

    def add(self, path: Path, captioned: Captioned) -> None:
        self._add_head(len(captioned.captions))
        self._write(self._format.lines(path, captioned))

    def end(self) -> None:
        """Write the header if there was no image."""
        self._add_head(1)

    def _add_head(self, captions: int) -> None:
        if not self._has_head:
            self._write(self._format.head(captions))
            self._has_head = True

    def _write(self, text: str) -> None:
        self._stream.write(text.encode(errors="surrogateescape"))  # a path may contain any bytes
        self._stream.flush()
