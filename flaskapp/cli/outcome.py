"""The outcomes of a command's files, and the captioning of files one by one."""

from collections.abc import Callable, Generator, Iterable
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from flaskapp.cli.captioners import Captioned, FileCaptioner
from flaskapp.cli.in_order import in_order
from flaskapp.cli.manifest import Manifest, Version
from flaskapp.client import ClientError
from flaskapp.errors import FlaskappError

CAPTIONED, DONE_BEFORE, FAILED = "captioned", "done before", "failed"


class Outcome(NamedTuple):
    """A file's captions, made now or before, or the reason why it has none."""

    path: Path
    kind: str  # CAPTIONED, DONE_BEFORE or FAILED
    captioned: Captioned | None = None
    reason: str = ""


def earlier_outcome(path: Path, manifest: Manifest) -> Outcome | Version:
    """Return the outcome of a file that is in the manifest or cannot be read, else its version, for the manifest."""
    try:
        version = Version.of(path)
    except OSError as error:
        return Outcome(path, FAILED, reason=error.strerror or str(error))
    captioned = manifest.get(version)
    return Outcome(path, DONE_BEFORE, captioned) if captioned else version


def outcomes_by_file(
    captioner: FileCaptioner, files: Iterable[Path], manifest: Manifest, advance: Callable[[int], object]
) -> Generator[Outcome]:
    """Caption files in threads, and yield their outcomes in order.

    Records the captions in the manifest. When closed before the end, also records those of the calls in progress.
    """

    def caption(path: Path) -> Outcome:
        version = earlier_outcome(path, manifest)
        if isinstance(version, Outcome):
            return version
        try:
            captioned = captioner.caption(path)
        except OSError as error:
            return Outcome(path, FAILED, reason=error.strerror or str(error))
        except (FlaskappError, ClientError) as error:
            return Outcome(path, FAILED, reason=str(error))
        manifest.add(version, captioned)
        return Outcome(path, CAPTIONED, captioned)

    with closing(in_order(caption, files, captioner.in_flight, captioner.stop)) as outcomes:
        for outcome in outcomes:
            advance(1)
            yield outcome
