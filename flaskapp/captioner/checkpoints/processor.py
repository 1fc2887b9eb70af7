"""Loads the processor of a model that takes images and text together.

Many of these models also take videos, and transformers' video processors require torchvision. Without torchvision, the
processor is loaded without its video processor, which images do not need.
"""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import transformers
from transformers.models.auto.processing_auto import PROCESSOR_MAPPING

from flaskapp.captioner.checkpoints.files import FURTHER_TOKENIZER
from flaskapp.errors import UnusableCheckpoint

LOCALLY: Any = {"local_files_only": True, "trust_remote_code": False}
VIDEO_PROCESSOR = "video_processor"
auto: Any = transformers  # its `from_pretrained` has no types
PARTS = {
    "image_processor": auto.AutoImageProcessor,
    "tokenizer": auto.AutoTokenizer,
    "feature_extractor": auto.AutoFeatureExtractor,
}


class NoVideoProcessor(dict[str, Any]):
    """Takes the place of a video processor. Some processors read its settings for images, too: all are None.

    It is an empty dictionary because transformers writes processors to its log as JSON.
    """

    def __getattr__(self, name: str) -> None:
        if name.startswith("__"):
            raise AttributeError(name)


class WithoutVideo:
    """Mixin for a processor class that accepts a NoVideoProcessor."""

    def check_argument_for_proper_class(self, name: str, part: Any) -> Any:
        if isinstance(part, NoVideoProcessor):
            return NoVideoProcessor
        return super().check_argument_for_proper_class(name, part)  # type: ignore[misc]


def load_processor(folder: Path, config: Any) -> Any:
    """Load the processor of a model with this configuration. Raises transformers' errors."""
    kind: Any = PROCESSOR_MAPPING.get(type(config), None)
    if kind is None or not _can_skip_video(names := kind.get_attributes()):
        return auto.AutoProcessor.from_pretrained(folder, **LOCALLY)
    parts = [PARTS[name].from_pretrained(folder, **LOCALLY) if name in PARTS else NoVideoProcessor() for name in names]
    without_video: Any = type(kind.__name__, (WithoutVideo, kind), {})
    settings, _ = without_video.get_processor_dict(folder, **LOCALLY)
    return without_video.from_args_and_dict(parts, settings)


def check_further_tokenizers(processor: Any, folder: Path) -> None:
    """Raise UnusableCheckpoint if the folder of a further tokenizer is missing: transformers uses the main one then."""
    for name in processor.get_attributes() if hasattr(processor, "get_attributes") else ():
        if name.endswith(FURTHER_TOKENIZER) and not (folder / name).is_dir():
            raise UnusableCheckpoint(f"the checkpoint has no folder {name}, which its processor needs")


def _can_skip_video(names: list[str]) -> bool:
    """Whether the video processor is the only part that cannot be loaded here."""
    has_video = VIDEO_PROCESSOR in names and find_spec("torchvision") is None
    return has_video and set(names) <= {*PARTS, VIDEO_PROCESSOR}
