"""Where a model comes from: the hub, a folder or the package itself -> model, tokenizer and preprocessing.

Any `VisionEncoderDecoderModel` checkpoint will do. Nothing in a checkpoint is ever run: weights are read as
safetensors or with `weights_only`, and code of its own (`trust_remote_code`) is refused.
"""

import logging
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from huggingface_hub import HfApi, snapshot_download
from huggingface_hub.errors import LocalEntryNotFoundError
from transformers import AutoImageProcessor, AutoTokenizer, VisionEncoderDecoderModel

log = logging.getLogger(__name__)

DEFAULT_MODEL = "nlpconnect/vit-gpt2-image-captioning"
DEFAULT_REVISION = "dc68f91c06a1ba6f15268e5b9c13ae7a7c514084"
EMBEDDED = "embedded"
EMBEDDED_FOLDER = Path(__file__).parent / "embedded" / "checkpoint"

PROBE_TIMEOUT = 8  # seconds that the hub has to answer at start
PROBE = "import sys, huggingface_hub as hub; hub.HfApi().model_info(sys.argv[1], revision=sys.argv[2])"


@dataclass(frozen=True)
class Checkpoint:
    """A model that lies on this machine. `name` is what clients are told: never a path."""

    name: str
    folder: Path


@dataclass(frozen=True)
class LoadedCheckpoint:
    """The three parts of a captioner. The tokenizer must never be used by two threads at once."""

    model: Any  # VisionEncoderDecoderModel; its `generate` has no usable type
    tokenizer: Any
    processor: Any


def find(model: str | None, revision: str | None) -> Checkpoint:
    """Find the checkpoint that the settings name, and download it if it is on the hub and not in the cache.

    Without a model it is the default one if it can be had, else the embedded one. A model that is named is that model
    or an error: FileNotFoundError for a folder, huggingface_hub's errors for a hub id.
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
    return Checkpoint(model, _find_in_cache(model, revision) or _download(model, revision))


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
    """The folder of a cached snapshot that has its weights; a download that was cut off has none."""
    try:
        folder = Path(snapshot_download(model, revision=revision, local_files_only=True))
    except LocalEntryNotFoundError:
        return None
    return folder if any(folder.glob("*.safetensors")) or any(folder.glob("*.bin")) else None


def _hub_answers(model: str, revision: str) -> bool:
    """Ask in a process of its own: a name look-up that hangs can be given up in no other way."""
    command = [sys.executable, "-c", PROBE, model, revision]
    try:
        return subprocess.run(command, timeout=PROBE_TIMEOUT, capture_output=True).returncode == 0
    except subprocess.TimeoutExpired:
        return False


def _download(model: str, revision: str) -> Path:
    """Download what the model needs, with a progress bar; pickled weights only if there are no others."""
    files = HfApi().list_repo_files(model, revision=revision)
    weights = "model*.safetensors" if any(Path(file).match("model*.safetensors") for file in files) else "*.bin"
    return Path(snapshot_download(model, revision=revision, allow_patterns=["*.json", "*.txt", weights]))


def load(checkpoint: Checkpoint, dtype: torch.dtype) -> LoadedCheckpoint:
    """Load a checkpoint into memory without asking the hub. Raises ValueError if its weights do not fill the model."""
    # Typed as the model alone, with output_loading_info it returns a pair.
    model, report = cast(Any, VisionEncoderDecoderModel).from_pretrained(
        checkpoint.folder, dtype=dtype, weights_only=True, local_files_only=True, output_loading_info=True
    )
    if report["missing_keys"]:
        raise ValueError(f"the checkpoint lacks {len(report['missing_keys'])} weights")
    # The PIL back end by name: the other one appears where torchvision is installed, and changes the pixels.
    processor = cast(Any, AutoImageProcessor).from_pretrained(checkpoint.folder, backend="pil", local_files_only=True)
    tokenizer = AutoTokenizer.from_pretrained(checkpoint.folder, local_files_only=True)
    return LoadedCheckpoint(model.eval(), tokenizer, processor)
