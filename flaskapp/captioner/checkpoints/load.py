"""Loads a checkpoint's model, tokenizer and preprocessing into memory.

Supports all image-to-text models of transformers. Never runs code of a checkpoint: weights are read as safetensors or
with `weights_only`, and `trust_remote_code` is off. Reports a broken checkpoint in one line here, not at the first
caption.
"""

import json
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from transformers import AutoImageProcessor, AutoModelForImageTextToText, GenerationConfig
from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES
from transformers.models.trocr.modeling_trocr import TrOCRSinusoidalPositionalEmbedding

from flaskapp.captioner.checkpoints.files import list_read
from flaskapp.captioner.checkpoints.hub import Checkpoint
from flaskapp.captioner.checkpoints.inputs import ModelInputs, PixelInputs, ProcessorInputs
from flaskapp.captioner.checkpoints.processor import LOCALLY, check_further_tokenizers, load_processor
from flaskapp.captioner.checkpoints.tokenizer import check_tokenizer, load_tokenizer
from flaskapp.captioner.engine.defaults import as_ids
from flaskapp.errors import UnusableCheckpoint

# Their warnings are reported below in one line, or are about intended states: poolers without weights, buffers of old
# releases, a `max_new_tokens` beside a checkpoint's `max_length`, layers that are not spread over several devices.
for noisy in (
    "transformers.modeling_utils",
    "transformers.generation.utils",
    "transformers.distributed.tensor_parallel",
):
    logging.getLogger(noisy).setLevel(logging.ERROR)

LFS_POINTER = b"version https://git-lfs"  # start of a file whose content git has not fetched
MAX_NAMED = 5  # most weights that an error names
# Parts of the names of weights that captions do not use, and that some checkpoints lack: poolers are for
# classification, mask tokens for pre-training.
UNUSED = (".pooler.", ".mask_token")


@dataclass(frozen=True)
class LoadedCheckpoint:
    """A loaded checkpoint. Only one thread at a time may use the tokenizer."""

    model: Any  # a transformers model; its `generate` has no usable type
    tokenizer: Any
    inputs: ModelInputs


def load(checkpoint: Checkpoint, dtype: torch.dtype) -> LoadedCheckpoint:
    """Load a checkpoint into memory, offline. Raise UnusableCheckpoint with the reason in one line."""
    _check_fetched(checkpoint.folder)
    model_type = _check_model_type(checkpoint.folder)
    model = _load_model(checkpoint.folder, dtype)
    maker = MAKERS.get(model_type)
    if maker is None:
        with _naming("processor"):
            processor = load_processor(checkpoint.folder, model.config)
        check_further_tokenizers(processor, checkpoint.folder)
        tokenizer = getattr(processor, "tokenizer", None)
        if tokenizer is None:
            tokenizer = load_tokenizer(checkpoint.folder, vocabulary_of(model))
        else:
            check_tokenizer(tokenizer, checkpoint.folder, vocabulary_of(model))
        inputs: ModelInputs = ProcessorInputs(
            processor, tokenizer, model_type, is_encoder_decoder=model.config.is_encoder_decoder
        )
        return LoadedCheckpoint(model, tokenizer, inputs)
    tokenizer = load_tokenizer(checkpoint.folder, vocabulary_of(model))
    # Name the PIL backend: with torchvision installed, the default is another one, which changes the pixels.
    processor = _load_part(AutoImageProcessor, "image processor", checkpoint.folder, backend="pil")
    return LoadedCheckpoint(model, tokenizer, maker(model, processor, tokenizer))


def _check_fetched(folder: Path) -> None:
    """Raise UnusableCheckpoint for a clone whose large files are still Git LFS pointers."""
    for path in list_read(folder):
        with path.open("rb") as file:
            if file.read(len(LFS_POINTER)) == LFS_POINTER:
                raise UnusableCheckpoint(f"{path.name} is a Git LFS pointer, not the file itself: git lfs pull")


def _check_model_type(folder: Path) -> str:
    """Return the model type of config.json. Raise UnusableCheckpoint unless it is supported."""
    try:
        config = json.loads((folder / "config.json").read_text())
    except FileNotFoundError:
        raise UnusableCheckpoint("the checkpoint has no config.json") from None
    except ValueError as error:
        raise UnusableCheckpoint(f"the checkpoint's config.json is not JSON: {error}") from None
    served = sorted(MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES)
    model_type = config.get("model_type") if isinstance(config, dict) else None
    if model_type not in served:
        raise UnusableCheckpoint(f"models of type {model_type!r} are not served; those served: {', '.join(served)}")
    return cast(str, model_type)


def _load_model(folder: Path, dtype: torch.dtype) -> Any:
    if (folder / "generation_config.json").exists():
        with _naming("generation configuration"):  # the model loads it as well, but cannot name it
            GenerationConfig.from_pretrained(folder, local_files_only=True)
    with _naming("weights"):
        # With output_loading_info it returns a pair, which its type does not say.
        model, report = cast(Any, AutoModelForImageTextToText).from_pretrained(
            folder, dtype=dtype, weights_only=True, output_loading_info=True, ignore_mismatched_sizes=True, **LOCALLY
        )
    missing = [str(name) for name in report["missing_keys"]]
    _check_weights("lacks weights", [name for name in missing if not any(part in name for part in UNUSED)])
    _check_weights(
        "has weights of other sizes than its config.json says", [name for name, *_ in report["mismatched_keys"]]
    )
    broken = [name for name, weight in model.named_parameters() if not bool(weight.isfinite().all())]
    _check_weights("has weights that are not finite numbers", broken)
    _compute_sinusoids(model)
    _unwrap_start_token(model.generation_config)
    language_model = getattr(model, "language_model", None)
    if language_model is not None and language_model.config.is_encoder_decoder:
        model.config.is_encoder_decoder = True  # transformers 5 does not save this setting of InstructBLIP with T5
    return model.eval()


def _check_weights(fault: str, names: list[str]) -> None:
    if names:
        more = f" and {len(names) - MAX_NAMED} more" if len(names) > MAX_NAMED else ""
        raise UnusableCheckpoint(f"the checkpoint {fault}: {', '.join(sorted(names)[:MAX_NAMED])}{more}")


def _compute_sinusoids(model: Any) -> None:
    """Compute TrOCR's sinusoidal positions: transformers 5.23 leaves them uninitialized."""
    for module in model.modules():
        if isinstance(module, TrOCRSinusoidalPositionalEmbedding):
            rows, width = module.weights.shape
            module.weights = module.get_embedding(rows, width, module.padding_idx).to(model.dtype)


def _unwrap_start_token(generation: Any) -> None:
    """Replace a list of one start token by the token. `generate` takes a list as one token for each image of a batch.

    Raise UnusableCheckpoint for several tokens.
    """
    start = generation.decoder_start_token_id
    if isinstance(start, list):
        if len(start) != 1:
            raise UnusableCheckpoint(f"its decoder_start_token_id must be one token, not {start}")
        (generation.decoder_start_token_id,) = start


def _load_part(factory: Any, name: str, folder: Path, **options: Any) -> Any:
    with _naming(name):
        return factory.from_pretrained(folder, **options, **LOCALLY)


@contextmanager
def _naming(part: str) -> Iterator[None]:
    """Name the part of the checkpoint that cannot be loaded, in one line. transformers' errors have several."""
    try:
        yield
    except Exception as error:
        raise UnusableCheckpoint(f"the {part} cannot be loaded: {' '.join(str(error).split())}") from error


def vocabulary_of(model: Any) -> int:
    """Return the size of the decoder's vocabulary."""
    return int(model.get_input_embeddings().weight.shape[0])


def _vision_encoder_decoder(model: Any, processor: Any, tokenizer: Any) -> PixelInputs:
    start = (_start_token(model, tokenizer),)
    # Donut's prompts are tasks, which replace the start token. The other decoders take no text.
    takes_task = "donut" in model.config.encoder.model_type
    prompt_name = "decoder_input_ids" if takes_task else None
    return PixelInputs(processor, tokenizer, start, prompt_name, keeps_start=False)


def _blip(model: Any, processor: Any, tokenizer: Any) -> PixelInputs:
    """BLIP's `generate` replaces the prompt's first token by the start token, and cuts off the last one."""
    text = model.config.text_config
    return PixelInputs(processor, tokenizer, (text.bos_token_id,), "input_ids", after=(text.sep_token_id,))


def _git(model: Any, processor: Any, tokenizer: Any) -> PixelInputs:
    start = model.generation_config.bos_token_id
    if start is None:
        start = tokenizer.cls_token_id
    return PixelInputs(processor, tokenizer, (start,), "input_ids")


def _start_token(model: Any, tokenizer: Any) -> int:
    """Return the start token from the generation configuration, the decoder, the model or the tokenizer."""
    generation, decoder, config = model.generation_config, model.config.decoder, model.config
    has_none = generation.decoder_start_token_id is None and generation.bos_token_id is None
    candidates = [
        generation.decoder_start_token_id,
        generation.bos_token_id,
        getattr(decoder, "decoder_start_token_id", None),
        getattr(decoder, "bos_token_id", None),
        getattr(config, "decoder_start_token_id", None),
        getattr(config, "bos_token_id", None),
        tokenizer.bos_token_id,
        tokenizer.cls_token_id,
    ]
    start = next((token for token in candidates if token is not None), None)
    if start is None:
        raise UnusableCheckpoint(
            "the checkpoint has no start token: set decoder_start_token_id in its generation_config.json"
        )
    if start >= vocabulary_of(model.decoder):
        raise UnusableCheckpoint(
            f"the start token {start} is beyond the decoder's {vocabulary_of(model.decoder)} tokens"
        )
    generation.decoder_start_token_id = start  # `generate` reads it only there
    if has_none and generation.eos_token_id is None:
        generation.eos_token_id = _end_tokens(model, tokenizer)
    return int(start)


def _end_tokens(model: Any, tokenizer: Any) -> list[int] | None:
    """Return the end tokens for a generation configuration that names neither a start nor an end token."""
    configs = [getattr(config, "eos_token_id", None) for config in (model.config.decoder, model.config)]
    candidates = map(as_ids, (*configs, tokenizer.eos_token_id, tokenizer.sep_token_id))
    known = ([token for token in ids if token in range(vocabulary_of(model.decoder))] for ids in candidates)
    return next((ids for ids in known if ids), None)


# Makers of the inputs of models that take pixels of one size. All others have a processor for images and text.
MAKERS: dict[str, Callable[[Any, Any, Any], PixelInputs]] = {
    "vision-encoder-decoder": _vision_encoder_decoder,
    "blip": _blip,
    "git": _git,
}
