"""Loads the model of a configuration. Imported only when needed: importing torch and transformers takes seconds."""

import logging
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch

from flaskapp.captioner.batcher import Batcher
from flaskapp.captioner.checkpoints import hub
from flaskapp.captioner.checkpoints.input_side import input_side
from flaskapp.captioner.checkpoints.inputs import ModelInputs
from flaskapp.captioner.checkpoints.load import load as load_checkpoint
from flaskapp.captioner.checkpoints.load import vocabulary_of
from flaskapp.captioner.configuration import Configuration
from flaskapp.captioner.engine.engine import Engine
from flaskapp.captioner.engine.own_settings import check_settings
from flaskapp.captioner.engine.precision import AUTO, CpuCapabilities, Precision, has_onednn, resolve
from flaskapp.captioner.generation import COURSE, Generation, GenerationSettings
from flaskapp.captioner.topology import ALL_CORES, plan_lanes
from flaskapp.errors import CaptionFailed, InvalidGeneration, InvalidSetting, UnusableCheckpoint
from flaskapp.machine import release_free_memory, release_threads, usable_cores

log = logging.getLogger(__name__)

SUBSTITUTE = (
    f"{hub.DEFAULT_MODEL} could not be downloaded: captions come from the small embedded model instead, which knows "
    "drawn shapes only"
)
PRECISIONS = {"cpu": (AUTO, "fp32", "bf16", "int8"), "cuda": (AUTO, "fp32", "bf16", "fp16")}
GPU_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}  # dtypes of all weights


class Loaded(NamedTuple):
    """A loaded checkpoint with its engine and batcher."""

    name: str
    version: str
    note: str | None  # warning that a substitute serves
    precision: Precision
    engine: Engine
    batcher: Batcher
    inputs: ModelInputs
    defaults: Generation  # the generation of a request without settings

    def preprocess(self, image: np.ndarray) -> Any:
        """Preprocess an image, uint8 [height, width, 3], for the engine. Raise CaptionFailed if that fails."""
        try:
            return self.inputs.preprocess(image)
        except Exception as error:
            log.exception("An image could not be preprocessed")
            raise CaptionFailed("the model's preprocessing failed at this image") from error

    @property
    def takes_prompt(self) -> bool:
        return self.inputs.encode_prompt is not None

    @property
    def input_side(self) -> int | None:
        """See `Captioner.input_side`."""
        return input_side(self.inputs.image_processor)


def load(configuration: Configuration) -> Loaded:
    """Find the checkpoint, download it if it is not in the cache, and load it."""
    device = choose_device(configuration)
    found = hub.find(configuration.model, configuration.revision)
    precision = _resolve_precision(configuration.precision, device)
    checkpoint = load_checkpoint(found, _weights_dtype(precision, device))
    engine = Engine(checkpoint, precision.name, device, _pinned(found.name, configuration.defaults))
    try:
        check_settings(engine.defaults.own, vocabulary_of(checkpoint.model))
        defaults = engine.defaults.effective
    except InvalidGeneration as error:
        raise UnusableCheckpoint(f"its default generation settings: {error.field}: {error}") from error
    except (TypeError, ValueError) as error:
        raise UnusableCheckpoint(f"its default generation settings have a value of another type: {error}") from error
    engine.defaults = replace(engine.defaults, needed_prompt=engine.find_needed_prompt())
    batcher = Batcher(
        engine,
        cores=usable_cores() if device.type == "cpu" else 1,  # more make nothing faster on a GPU
        lanes=plan_lanes(usable_cores()) if device.type == "cpu" else [ALL_CORES],
        max_batch=configuration.max_batch,
        max_waiting=configuration.queue,
    )
    is_substitute = configuration.model is None and found.name == hub.EMBEDDED
    note = SUBSTITUTE if is_substitute else None
    release_free_memory()  # the engine has replaced the original weights
    release_threads()  # the lanes have their own
    return Loaded(found.name, found.version(), note, precision, engine, batcher, checkpoint.inputs, defaults)


def _resolve_precision(setting: str, device: torch.device) -> Precision:
    precision = resolve(setting, device)
    if precision.reason is not None:
        log.info("FLASKAPP_CAPTIONER_PRECISION=auto: the model runs in %s, as %s", precision.name, precision.reason)
    elif precision.name == "bf16" and device.type == "cpu" and not CpuCapabilities.detect().has_bf16:
        log.warning("bf16 is no faster than fp32 on this CPU, which has neither AVX512_BF16 nor AMX")
    return precision


def _weights_dtype(precision: Precision, device: torch.device) -> torch.dtype:
    """Return the dtype to load weights in. On a CPU it is fp32: the engine converts the linear layers itself."""
    return GPU_DTYPES.get(precision.name, torch.float32) if device.type == "cuda" else torch.float32


def _pinned(name: str, configured: GenerationSettings) -> GenerationSettings:
    """Return the settings that override the checkpoint's: the configured ones and, for two models, the course's."""
    ours = COURSE if name in (hub.DEFAULT_MODEL, hub.EMBEDDED) else GenerationSettings()
    return configured.over(ours)


def choose_device(configuration: Configuration) -> torch.device:
    """Return the configured device. Raise InvalidSetting if it is not available or does not support the precision.

    Of several devices, use the first: the server starts an engine process for each, and gives it only that one.
    Unlike `is_available`, `device_count` does not initialize CUDA.
    """
    gpus = torch.cuda.device_count()
    name, *_ = configuration.device.split(",")
    device = torch.device(("cuda" if gpus else "cpu") if name == "auto" else name)
    if device.type == "cuda" and (device.index or 0) >= gpus:
        raise InvalidSetting(f"FLASKAPP_CAPTIONER_DEVICE must be a device that is here, not {name!r} (of {gpus} GPUs)")
    possible, precision = PRECISIONS[device.type], configuration.precision
    if precision not in possible:
        names = ", ".join(possible)
        raise InvalidSetting(f"FLASKAPP_CAPTIONER_PRECISION must be one of {names} on {device}, not {precision!r}")
    if precision == "int8" and not has_onednn():
        raise InvalidSetting("FLASKAPP_CAPTIONER_PRECISION=int8 needs oneDNN, which this build of PyTorch lacks")
    return device
