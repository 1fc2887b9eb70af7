"""The manifest: a file that records captions, one line of JSON per image, so that a rerun skips finished files."""

import json
import threading
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Any, NamedTuple, Self

from flaskapp.cli.captioners import Captioned

HEAD = '{"flaskapp": "captions", "version": 1}\n'
MAX_HEAD = 1000  # characters to read of the first line, in case the file is not a manifest


class Version(NamedTuple):
    """A file at its current version. Each write makes a new version."""

    path: str
    size: int  # bytes
    mtime_ns: int

    @classmethod
    def of(cls, path: Path) -> Self:
        """Raises OSError."""
        stat = path.stat()
        return cls(str(path.absolute()), stat.st_size, stat.st_mtime_ns)


class NotAManifest(Exception):
    """The file is not a manifest. It is left unchanged."""


class Manifest:
    """Captions by the version of a file, for one `recipe`: the model and the settings.

    Writes each line at once, and skips lines that were cut off when the process or the machine stopped. Without a file,
    keeps the captions in memory. Thread-safe.
    """

    def __init__(self, file: Path | None, recipe: Mapping[str, Any]) -> None:
        """Open and read the file. Raises OSError or NotAManifest."""
        self._recipe = dict(recipe)
        self._lock = threading.Lock()
        self._captions: dict[Version, Captioned] = {}
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
        return self._captions.get(version)

    def add(self, version: Version, captioned: Captioned) -> None:
        """Record captions. Raises OSError if they cannot be written."""
        with self._lock:
            self._captions[version] = captioned
            if self._lines is not None:
                entry = version._asdict() | captioned._asdict() | {"recipe": self._recipe}
                self._lines.write(json.dumps(entry) + "\n")
                self._lines.flush()

    def _read(self, lines: IO[str]) -> None:
        lines.seek(0)
        line = head = lines.readline(MAX_HEAD)
        if head and head != HEAD:
            raise NotAManifest("it is not a list of captions")
        for line in lines:
            with suppress(ValueError, LookupError, TypeError):
                self._load_entry(json.loads(line))
        if not head:
            lines.write(HEAD)
        elif not line.endswith("\n"):
            lines.write("\n")

    def _load_entry(self, entry: Any) -> None:
        if entry["recipe"] == self._recipe:
            version = Version(entry["path"], entry["size"], entry["mtime_ns"])
            self._captions[version] = Captioned(entry["model"], entry["captions"], entry.get("scores"))
