"""A checkpoint on this machine -> model, tokenizer and preprocessing in memory."""

from dataclasses import dataclass
from typing import Any, cast

import torch
from transformers import AutoImageProcessor, AutoTokenizer, VisionEncoderDecoderModel

from flaskapp.captioner.checkpoints.hub import Checkpoint

LOCALLY: Any = {"local_files_only": True, "trust_remote_code": False}


@dataclass(frozen=True)
class LoadedCheckpoint:
    """The three parts of a captioner. The tokenizer must never be used by two threads at once."""

    model: Any  # VisionEncoderDecoderModel; its `generate` has no usable type
    tokenizer: Any
    processor: Any


def load(checkpoint: Checkpoint, dtype: torch.dtype) -> LoadedCheckpoint:
    """Load a checkpoint into memory without asking the hub. Raises ValueError if its weights do not fill the model."""
    # Typed as the model alone, with output_loading_info it returns a pair.
    model, report = cast(Any, VisionEncoderDecoderModel).from_pretrained(
        checkpoint.folder, dtype=dtype, weights_only=True, output_loading_info=True, **LOCALLY
    )
    if report["missing_keys"]:
        raise ValueError(f"the checkpoint lacks {len(report['missing_keys'])} weights")
    # The PIL back end by name: the other one appears where torchvision is installed, and changes the pixels.
    processor = cast(Any, AutoImageProcessor).from_pretrained(checkpoint.folder, backend="pil", **LOCALLY)
    tokenizer = AutoTokenizer.from_pretrained(checkpoint.folder, **LOCALLY)
    return LoadedCheckpoint(model.eval(), tokenizer, processor)
