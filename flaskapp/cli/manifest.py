"""What was captioned already, so that it need not be again: a line of JSON for each image."""

import json
import threading
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Any, NamedTuple, Self

from flaskapp.cli.captioners import Captioned

HEAD = '{"flaskapp": "captions", "version": 1}\n'
MAX_HEAD = 1000  # characters that are read to tell a manifest from other files


class Version(NamedTuple):
    """A file as it is now. One that was written to is another."""

    path: str
    size: int  # bytes
    mtime_ns: int

    @classmethod
    def of(cls, path: Path) -> Self:
        """Raises OSError."""
        stat = path.stat()
        return cls(str(path.absolute()), stat.st_size, stat.st_mtime_ns)


class NoManifest(Exception):
    """The file is something else, and stays as it is."""


class Manifest:
    """Remembers captions by the version of the file and by `recipe`, what else decides them: model and settings.

    A line is written as soon as a caption is made. One that was cut short, when the process or the machine was stopped,
    is passed over. With no file it remembers until it is closed. Threads may share it.
    """

    def __init__(self, file: Path | None, recipe: Mapping[str, Any]) -> None:
        """Raises OSError, or NoManifest."""
        self._recipe = dict(recipe)
        self._lock = threading.Lock()
        self._known: dict[Version, Captioned] = {}
        self._lines: IO[str] | None = None
        if file is not None:
            with ExitStack() as stack:
                lines = stack.enter_context(file.open("a+", encoding="utf-8", errors="replace"))
                self._read(lines)
                stack.pop_all()
            self._lines = lines

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._lines is not None:
            self._lines.close()

    def get(self, version: Version) -> Captioned | None:
        return self._known.get(version)

    def add(self, version: Version, captioned: Captioned) -> None:
        """Raises OSError if it cannot be written."""
        with self._lock:
            self._known[version] = captioned
            if self._lines is not None:
                entry = version._asdict() | captioned._asdict() | {"recipe": self._recipe}
                self._lines.write(json.dumps(entry) + "\n")
                self._lines.flush()

    def _read(self, lines: IO[str]) -> None:
        lines.seek(0)
        line = head = lines.readline(MAX_HEAD)
        if head and head != HEAD:
            raise NoManifest("it is not a list of captions")
        for line in lines:
            with suppress(ValueError, LookupError, TypeError):
                self._remember(json.loads(line))
        if not head:
            lines.write(HEAD)
        elif not line.endswith("\n"):
            lines.write("\n")

    def _remember(self, entry: Any) -> None:
        if entry["recipe"] == self._recipe:
            version = Version(entry["path"], entry["size"], entry["mtime_ns"])
            self._known[version] = Captioned(entry["model"], entry["captions"], entry.get("scores"))
