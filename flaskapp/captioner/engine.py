"""The captioner: pictures and settings in, captions out."""

import logging
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import torch

from flaskapp.captioner import checkpoint as checkpoints
from flaskapp.captioner.checkpoint import LoadedCheckpoint
from flaskapp.captioner.generation import GenerationSettings
from flaskapp.errors import CaptionerUnavailable, InvalidGeneration

log = logging.getLogger(__name__)

REASON = "there is no captioning model: it could not be loaded"  # the log has the details
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class Configuration(NamedTuple):
    """What is loaded, and where to: the settings' CAPTIONER_MODEL, _REVISION, _DEVICE and _PRECISION."""

    model: str | None = None
    revision: str | None = None
    device: str = "auto"
    precision: str = "fp32"


class Captioner:
    """One model, made in three steps: an empty object at import, `configure` in `create_app`, `load` by whoever serves.

    A process that forks its workers loads before the fork, so that they share the weights. Where nobody loads, the
    first caption does. A model that cannot be loaded is not tried again: every caption then says so.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._max_batch = 8
        self._reset(Configuration())

    def configure(
        self,
        *,
        model: str | None = None,
        revision: str | None = None,
        device: str = "auto",
        precision: str = "fp32",
        max_batch: int = 8,
    ) -> None:
        """Say what `load` shall load. What another configuration had loaded is forgotten."""
        self._max_batch = max_batch
        configuration = Configuration(model, revision, device, precision)
        if configuration != self._configuration:
            self._reset(configuration)

    def _reset(self, configuration: Configuration) -> None:
        self._configuration = configuration
        self._name: str | None = None
        self._loaded: LoadedCheckpoint | None = None
        self._is_on_device = False
        self._failed = False

    @property
    def name(self) -> str:
        """What the answers' `model` says: the hub id, the folder's name, or "embedded". Known once it is loaded."""
        return self._name or "none"

    def load(self) -> None:
        """Load the model, downloading it first if need be. Raises CaptionerUnavailable; the reason is in the log."""
        with self._lock:
            self._load()

    @staticmethod
    def prepare_to_fork() -> None:
        """Keep torch to one thread. OpenMP's others do not survive a fork: a child would wait for them for ever."""
        torch.set_num_threads(1)

    @staticmethod
    def continue_after_fork(threads: int) -> None:
        """Give a forked worker its share of the cores."""
        torch.set_num_threads(threads)

    def caption(self, images: Sequence[np.ndarray], settings: GenerationSettings) -> list[list[str]]:
        """Caption RGB images, uint8 [height, width, 3] of any sizes.

        Returns for each image its `num_return_sequences` captions, the best first.
        Raises InvalidGeneration for settings beyond the model, CaptionerUnavailable when there is no model.
        """
        captions: list[list[str]] = []
        with self._lock:
            loaded = self._load_on_device()
            _check_positions(loaded, settings)
            for start in range(0, len(images), self._max_batch):
                captions += _generate(loaded, images[start : start + self._max_batch], settings)
        return captions

    def _load(self) -> LoadedCheckpoint:
        if self._failed:
            raise CaptionerUnavailable(REASON)
        if self._loaded is None:
            with self._failing_for_good():
                found = checkpoints.find(self._configuration.model, self._configuration.revision)
                self._loaded = checkpoints.load(found, DTYPES[self._configuration.precision])
                self._name = found.name
                log.info("Captions come from the model %r", self._name)
        return self._loaded

    def _load_on_device(self) -> LoadedCheckpoint:
        """The weights move to the device with the first caption: CUDA, once used, does not survive a fork."""
        loaded = self._load()
        if not self._is_on_device:
            with self._failing_for_good():
                loaded.model.to(_choose_device(self._configuration.device))
            self._is_on_device = True
        return loaded

    @contextmanager
    def _failing_for_good(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            self._failed = True
            log.exception("The captioning model cannot be loaded: /caption/ will answer 503")
            raise CaptionerUnavailable(REASON) from error


def _choose_device(setting: str) -> torch.device:
    if setting == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(setting)


def _check_positions(loaded: LoadedCheckpoint, settings: GenerationSettings) -> None:
    positions = loaded.model.config.decoder.max_position_embeddings
    if settings.max_length > positions:
        raise InvalidGeneration("max_length", f"Must not be more than {positions}, the positions of this model.")


@torch.inference_mode()
def _generate(loaded: LoadedCheckpoint, images: Sequence[np.ndarray], settings: GenerationSettings) -> list[list[str]]:
    pixels = loaded.processor(list(images), return_tensors="pt", input_data_format="channels_last").pixel_values
    pixels = pixels.to(loaded.model.device, loaded.model.dtype)  # [images, 3, size, size]
    with _seeded(settings.seed):
        tokens = loaded.model.generate(pixels, **settings.for_generate())  # [images * sequences, length]
    texts = [text.strip() for text in loaded.tokenizer.batch_decode(tokens, skip_special_tokens=True)]
    count = settings.num_return_sequences
    return [texts[start : start + count] for start in range(0, len(texts), count)]


@contextmanager
def _seeded(seed: int | None) -> Iterator[None]:
    """Draw from a random stream of the request's own, and leave the process's stream as it was."""
    with torch.random.fork_rng():
        if seed is None:
            torch.seed()
        else:
            torch.manual_seed(seed)
        yield
