"""Finds a model's files: in the hub's cache, a folder or the package. Downloads them from the hub if needed.

`load` loads them.
"""

import hashlib
import json
import logging
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import get_cached_repo_tree, snapshot_download
from huggingface_hub.errors import CachedRepoTreeNotFoundError, LocalEntryNotFoundError
from transformers.utils.logging import disable_progress_bar

from flaskapp.captioner.checkpoints.download import Result
from flaskapp.captioner.checkpoints.files import BrokenRepository, find_missing, list_decisive
from flaskapp.child_environment import child_environment
from flaskapp.errors import HubUnreachable, ModelUnavailable

log = logging.getLogger(__name__)

# Route the libraries' logs through the root logger.
disable_progress_bar()  # type: ignore[no-untyped-call]
for library in ("transformers", "huggingface_hub"):
    logging.getLogger(library).handlers.clear()
    logging.getLogger(library).propagate = True


DEFAULT_MODEL = "nlpconnect/vit-gpt2-image-captioning"
DEFAULT_REVISION = "dc68f91c06a1ba6f15268e5b9c13ae7a7c514084"
EMBEDDED = "embedded"
EMBEDDED_FOLDER = Path(__file__).parents[1] / "embedded" / "checkpoint"

DOWNLOAD = [sys.executable, "-m", "flaskapp.captioner.checkpoints.download"]

PROGRESS_IN_FILES = {"TQDM_MININTERVAL": "5"}  # seconds between updates of a progress bar that is not on a terminal


@dataclass(frozen=True)
class Checkpoint:
    """A model on this machine. Clients see `name`, which is never a path."""

    name: str
    folder: Path

    def version(self) -> str:
        """Return a hash that changes with the folder, and with the names, sizes and times of its files."""
        folder = self.folder.resolve()
        stats = [(path.name, path.stat()) for path in list_decisive(folder)]
        files = [(name, stat.st_size, stat.st_mtime_ns) for name, stat in stats]
        return hashlib.sha256(repr((str(folder), files)).encode()).hexdigest()


def find(model: str | None, revision: str | None) -> Checkpoint:
    """Find the checkpoint that the settings name. Download it if it is on the hub and not in the cache.

    Without a model, use the default one, or the embedded one if the hub cannot be reached. A named model has no
    substitute. Raises FileNotFoundError for a folder, and for a hub id BrokenRepository, or ModelUnavailable or
    HubUnreachable, after which another try may succeed.
    """
    if model is None:
        return _find_default(revision)
    if model == EMBEDDED:
        return Checkpoint(EMBEDDED, EMBEDDED_FOLDER)
    if Path(model).is_dir():
        return Checkpoint(Path(model).resolve().name, Path(model))
    if model.startswith((".", "/", "~")):
        raise FileNotFoundError(f"FLASKAPP_CAPTIONER_MODEL is not a folder: {model}")
    revision = revision or (DEFAULT_REVISION if model == DEFAULT_MODEL else "main")
    return Checkpoint(model, _find_in_cache(model, revision) or _download(model, revision))


def _find_default(revision: str | None) -> Checkpoint:
    try:
        return find(DEFAULT_MODEL, revision)
    except HubUnreachable as error:
        log.warning("%s", error)
    log.warning(
        "Captions come from the small EMBEDDED model, which knows drawn shapes only. Set FLASKAPP_CAPTIONER_MODEL to "
        "choose another."
    )
    return Checkpoint(EMBEDDED, EMBEDDED_FOLDER)


def _find_in_cache(model: str, revision: str) -> Path | None:
    """Return the folder of a cached snapshot, if it has all needed files."""
    try:
        folder = Path(snapshot_download(model, revision=revision, allow_patterns=[], local_files_only=True))
    except LocalEntryNotFoundError:
        return None
    listing = None
    with suppress(CachedRepoTreeNotFoundError):  # an older version of the library filled the cache: it stored no list
        listing = [file.path for file in get_cached_repo_tree(model, revision=revision)]
    missing = find_missing(folder, listing)
    if missing:
        log.warning("%s in the hub's cache is incomplete: %s is missing", model, ", ".join(missing))
    return None if missing else folder


def _download(model: str, revision: str) -> Path:
    """Download the files that the model needs, with a progress bar. Return the folder of its snapshot.

    Raises HubUnreachable, ModelUnavailable or BrokenRepository. Any other exception, such as a signal handler's, ends
    the download immediately.
    """
    with subprocess.Popen(
        [*DOWNLOAD, model, revision],
        env=child_environment(**{} if sys.stderr.isatty() else PROGRESS_IN_FILES),
        stdin=subprocess.PIPE,  # the download ends when this closes, also if this process is killed
        stdout=subprocess.PIPE,
        process_group=0,  # a terminal sends Ctrl-C only to this process
    ) as process:
        try:
            result = _follow(process)
        finally:
            process.kill()
    return _check(model, result)


def _follow(process: subprocess.Popen[bytes]) -> Result:
    """Forward the download's log records. Return its result."""
    assert process.stdout is not None
    for line in process.stdout:
        event = json.loads(line)
        if "outcome" in event:
            return Result(**event)
        logging.getLogger(event["logger"]).log(event["level"], "%s", event["message"])
    return Result("unavailable", "the download process ended unexpectedly")


def _check(model: str, result: Result) -> Path:
    match result.outcome:
        case "there":
            return Path(result.detail)
        case "impossible":
            raise BrokenRepository(f"{model} cannot be used: {result.detail}")
        case "unreachable":
            log.warning("The hub cannot be reached: %s", result.detail)
            raise HubUnreachable(f"the hub cannot be reached, and {model} is not in its cache")
    log.warning("The hub does not offer %s: %s", model, result.detail)
    raise ModelUnavailable(f"{model} is not available from the hub at the moment", result.retry_after)
