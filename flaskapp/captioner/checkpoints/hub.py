"""Where a model comes from: the hub, a folder or the package itself -> model, tokenizer and preprocessing.

Any `VisionEncoderDecoderModel` checkpoint will do. Nothing in a checkpoint is ever run: weights are read as
safetensors or with `weights_only`, and code of its own (`trust_remote_code`) is refused.
"""

import hashlib
import logging
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import HfApi, snapshot_download
from huggingface_hub.errors import LocalEntryNotFoundError
from huggingface_hub.utils.tqdm import enable_progress_bars
from transformers.utils.logging import disable_progress_bar

log = logging.getLogger(__name__)

# What these libraries have to say goes where all lines go, in the form that all have.
disable_progress_bar()  # type: ignore[no-untyped-call]
enable_progress_bars()  # a download's, which that also switched off: of a gigabyte one wants to see how far it is
for library in ("transformers", "huggingface_hub"):
    logging.getLogger(library).handlers.clear()
    logging.getLogger(library).propagate = True


DEFAULT_MODEL = "nlpconnect/vit-gpt2-image-captioning"
DEFAULT_REVISION = "dc68f91c06a1ba6f15268e5b9c13ae7a7c514084"
EMBEDDED = "embedded"
EMBEDDED_FOLDER = Path(__file__).parents[1] / "embedded" / "checkpoint"

FILES = ("*.json", "*.txt", "*.safetensors", "*.bin")  # that decide what a model says
WEIGHTS = ("model*.safetensors", "pytorch_model*.bin")  # pickled ones only where there are no others

PROBE_TIMEOUT = 8  # seconds that the hub has to answer at start
PROBE = "import sys, huggingface_hub as hub; hub.HfApi().model_info(sys.argv[1], revision=sys.argv[2])"


@dataclass(frozen=True)
class Checkpoint:
    """A model that lies on this machine. `name` is what clients are told: never a path."""

    name: str
    folder: Path

    def version(self) -> str:
        """Another one for another folder, and for files in it that were written to or exchanged."""
        folder = self.folder.resolve()
        stats = [(path.name, path.stat()) for each in FILES for path in sorted(folder.glob(each)) if path.is_file()]
        files = [(name, stat.st_size, stat.st_mtime_ns) for name, stat in stats]
        return hashlib.sha256(repr((str(folder), files)).encode()).hexdigest()


def find(model: str | None, revision: str | None) -> Checkpoint:
    """Find the checkpoint that the settings name, and download it if it is on the hub and not in the cache.

    Without a model it is the default one if it can be had, else the embedded one. A model that is named is that model
    or an error: FileNotFoundError for a folder, ConnectionError or huggingface_hub's errors for a hub id.
    """
    if model is None:
        return _find_default()
    if model == EMBEDDED:
        return Checkpoint(EMBEDDED, EMBEDDED_FOLDER)
    if Path(model).is_dir():
        return Checkpoint(Path(model).resolve().name, Path(model))
    if model.startswith((".", "/", "~")):
        raise FileNotFoundError(f"CAPTIONER_MODEL is not a folder: {model}")
    revision = revision or (DEFAULT_REVISION if model == DEFAULT_MODEL else "main")
    folder = _find_in_cache(model, revision)
    if folder is None:
        if not _hub_answers(model, revision):
            raise ConnectionError(f"{model} at {revision} is not in the cache, and the hub does not offer it")
        folder = _download(model, revision)
    return Checkpoint(model, folder)


def _find_default() -> Checkpoint:
    folder = _find_in_cache(DEFAULT_MODEL, DEFAULT_REVISION)
    if folder is None and _hub_answers(DEFAULT_MODEL, DEFAULT_REVISION):
        try:
            folder = _download(DEFAULT_MODEL, DEFAULT_REVISION)
        except Exception:
            log.exception("The download of %s failed", DEFAULT_MODEL)
    if folder is not None:
        return Checkpoint(DEFAULT_MODEL, folder)
    log.warning(
        "%s is not in the cache and the hub does not answer: captions come from the small EMBEDDED model, which knows "
        "drawn shapes only. Set FLASKAPP_CAPTIONER_MODEL to choose another.",
        DEFAULT_MODEL,
    )
    return Checkpoint(EMBEDDED, EMBEDDED_FOLDER)


def _find_in_cache(model: str, revision: str) -> Path | None:
    """The folder of a cached snapshot that is complete; one whose download was cut off does not count."""
    for weights in WEIGHTS:
        with suppress(LocalEntryNotFoundError):
            folder = _snapshot(model, revision, weights, local_files_only=True)
            if (folder / "config.json").exists() and any(folder.glob(weights)):
                return folder
    return None


def _hub_answers(model: str, revision: str) -> bool:
    """Ask in a process of its own: a name look-up that hangs can be given up in no other way."""
    command = [sys.executable, "-c", PROBE, model, revision]
    try:
        return subprocess.run(command, timeout=PROBE_TIMEOUT, capture_output=True).returncode == 0
    except subprocess.TimeoutExpired:
        return False


def _download(model: str, revision: str) -> Path:
    """Download what the model needs, with a progress bar. Raises FileNotFoundError for a repository without weights."""
    files = HfApi().list_repo_files(model, revision=revision)
    for weights in WEIGHTS:
        if any(Path(file).match(weights) for file in files):
            return _snapshot(model, revision, weights)
    raise FileNotFoundError(f"{model} at {revision} has no weights that can be read here")


def _snapshot(model: str, revision: str, weights: str, *, local_files_only: bool = False) -> Path:
    files = ["*.json", "*.txt", weights]
    folder = snapshot_download(model, revision=revision, allow_patterns=files, local_files_only=local_files_only)
    return Path(folder)
