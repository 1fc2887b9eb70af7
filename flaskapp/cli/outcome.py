"""What becomes of the files of a command, where each is captioned by itself."""

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
    """What became of a file: captions, made now or before, or the reason why there are none."""

    path: Path
    kind: str  # CAPTIONED, DONE_BEFORE or FAILED
    captioned: Captioned | None = None
    reason: str = ""


def outcome_before(path: Path, known: Manifest) -> Outcome | Version:
    """What became of a file before, or that it cannot be read; else what it is now, to be captioned."""
    try:
        version = Version.of(path)
    except OSError as error:
        return Outcome(path, FAILED, reason=error.strerror or str(error))
    done = known.get(version)
    return Outcome(path, DONE_BEFORE, done) if done else version


def outcomes_by_file(
    captioner: FileCaptioner, files: Iterable[Path], known: Manifest, advance: Callable[[int], object]
) -> Generator[Outcome]:
    """Caption many files at once, in as many threads. What is captioned when it is closed is in the manifest."""

    def caption(path: Path) -> Outcome:
        before = outcome_before(path, known)
        if isinstance(before, Outcome):
            return before
        try:
            captioned = captioner.caption(path)
        except OSError as error:
            return Outcome(path, FAILED, reason=error.strerror or str(error))
        except (FlaskappError, ClientError) as error:
            return Outcome(path, FAILED, reason=str(error))
        known.add(before, captioned)
        return Outcome(path, CAPTIONED, captioned)

    with closing(in_order(caption, files, captioner.in_flight, captioner.stop)) as outcomes:
        for outcome in outcomes:
            advance(1)
            yield outcome
