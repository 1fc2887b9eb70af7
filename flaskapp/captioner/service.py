"""The captioner that views call: passes images to the batcher of the one model."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from flaskapp import metrics
from flaskapp.captioner.cache import CaptionCache
from flaskapp.captioner.generation import Caption, Generation, GenerationSettings
from flaskapp.captioner.loader import LOADING, ModelLoader
from flaskapp.errors import CaptionFailed, ClientLeft, FlaskappError, ModelUnavailable, UnreadableImage
from flaskapp.sized_iterable import SizedIterable
from flaskapp.timings import Timings

if TYPE_CHECKING:
    from flaskapp.captioner.loading import Loaded  # imports torch: see `loader`

log = logging.getLogger(__name__)

WARMING_UP = "the model is warming up"
STALLED = "the model makes no progress"
WARM_UP_TOKENS = 4  # generated tokens; later ones take no longer
WARM_UP_SIDE = 224  # pixels of the image's sides
POLL_INTERVAL = 0.5  # seconds between two checks for a disconnected client
RETRY_AFTER = 5  # seconds
# Largest ratio of an image's sides. Many models' preprocessing resizes the short side to a fixed length.
MAX_ASPECT_RATIO = 200


def check_shape(image: np.ndarray) -> None:
    """Raise UnreadableImage for an image [height, width, 3] that preprocessing would make far larger."""
    height, width, _ = image.shape
    if max(height, width) > MAX_ASPECT_RATIO * min(height, width):
        raise UnreadableImage(f"the image is more than {MAX_ASPECT_RATIO} times as long as it is wide")


class Captioner(ModelLoader):
    """Has three stages: an empty object at import, `configure` in `create_app`, and `load` in the serving process.

    Without a `load`, the first caption loads the model.
    """

    def _reset(self) -> None:
        super()._reset()
        self._cache = CaptionCache(self._configuration.cache_mb * 2**20)
        self._warm_up_problem: str | None = WARMING_UP  # None after the first caption

    @property
    def _is_prepared(self) -> bool:
        return self._loaded is not None and self._warm_up_problem != WARMING_UP

    @property
    def problem(self) -> str | None:
        """Why there are no captions, or None. Never blocks, unlike a caption while the model is being loaded."""
        if self._has_failed or self._loaded is None:
            return super().problem
        return STALLED if self.is_stuck else self._warm_up_problem

    @property
    def is_stuck(self) -> bool:
        """Whether the model has stalled: a decode step takes far longer than any before."""
        return self._loaded is not None and self._loaded.batcher.has_stalled

    @property
    def deadline(self) -> float:
        """Default deadline of `describe`, in seconds."""
        return self._configuration.deadline

    @property
    def input_side(self) -> int | None:
        """The longest side, in pixels, to which the model's preprocessing resizes an image.

        None: the model takes images in full size, the size is unknown, or the model is not loaded. Decode images in
        full then.
        """
        return self._loaded.input_side if self._loaded is not None else None

    def warm_up(self) -> None:
        """Caption a grey image twice, so that the first request finds memory, threads and a measured pace.

        A model that fails is not ready. The next request that succeeds makes it ready.
        """
        self._warm_up_problem, began = WARMING_UP, time.monotonic()
        image = np.full((WARM_UP_SIDE, WARM_UP_SIDE, 3), 128, np.uint8)
        try:
            loaded = self._ready(math.inf)
            prompt = loaded.engine.defaults.needed_prompt
            generation = loaded.engine.resolve(GenerationSettings(prompt=prompt, max_new_tokens=WARM_UP_TOKENS))
            for _ in range(2):
                loaded.batcher.caption([loaded.preprocess(image)], generation, math.inf)
        except CaptionFailed as error:  # not because of the grey image
            log.error("The model failed at its warm-up: %s", error.__cause__ or error)
            self._warm_up_problem = "the model failed at its warm-up: the server's log says why"
        except FlaskappError as error:
            log.error("The model failed at its warm-up: %s", error)
            self._warm_up_problem = f"the model failed at its warm-up: {error}"
        except Exception:
            log.exception("The model failed at its warm-up")
            self._warm_up_problem = "the model failed at its warm-up: the server's log says why"
        else:
            self._warm_up_problem = None
            log.info("The model is ready: its warm-up took %.1f s", time.monotonic() - began)

    @property
    def decoder(self) -> str | None:
        """The decoder for the default settings: "fast" or "generate". None until the model is loaded."""
        if self._loaded is None:
            return None
        return "fast" if self._loaded.defaults.fallback is None else "generate"

    @property
    def decoder_reason(self) -> str | None:
        """Why it is not the fast decoder, or None."""
        return self._loaded.defaults.fallback if self._loaded is not None else None

    @property
    def precision(self) -> str | None:
        """The model's precision: "fp32", "bf16", "fp16" or "int8". None until it is loaded."""
        return self._loaded.precision.name if self._loaded is not None else None

    @property
    def precision_reason(self) -> str | None:
        """Why `auto` chose the precision. None if the setting names it."""
        return self._loaded.precision.reason if self._loaded is not None else None

    @property
    def defaults(self) -> Generation | None:
        """The generation of a request without settings. None until the model is loaded."""
        return self._loaded.defaults if self._loaded is not None else None

    @property
    def takes_prompt(self) -> bool | None:
        """Whether the model takes a prompt. None until it is loaded."""
        return self._loaded.takes_prompt if self._loaded is not None else None

    def caption(
        self,
        images: Collection[np.ndarray],
        settings: GenerationSettings,
        has_left: Callable[[], bool] = lambda: False,
        *,
        deadline: float | None = None,
        timings: Timings | None = None,
    ) -> list[list[str]]:
        """Return the texts of `describe`."""
        described = self.describe(images, settings, has_left, deadline=deadline, timings=timings)
        return [[caption.text for caption in captions] for captions in described]

    def describe(
        self,
        images: Collection[np.ndarray],
        settings: GenerationSettings,
        has_left: Callable[[], bool] = lambda: False,
        *,
        deadline: float | None = None,
        timings: Timings | None = None,
        on_text: Callable[[str], object] | None = None,
        digests: Sequence[str] = (),
    ) -> list[list[Caption]]:
        """Caption RGB images, uint8 [height, width, 3] of any size.

        The collection is iterated only after the request is admitted, and may decode each image when it is needed.
        `deadline` is in seconds from now, by default the configured one. With math.inf, the request is neither rejected
        nor timed out. `timings` receives the seconds of each stage. `on_text` is called with the final words so far
        while one caption of one image is generated without beam search; it runs in the model's thread and must not
        block. `digests` are the SHA-256 of the images' files: no image is decoded if its captions are cached, or if an
        equal request is running.

        Returns `num_return_sequences` captions for each image, best first.
        Raises InvalidGeneration for settings beyond the model, CaptionerUnavailable without a model, TooBusy,
        DeadlineExceeded, CaptionFailed if the model fails at an image, or ClientLeft once `has_left` returns true.
        """
        deadline = self.deadline if deadline is None else deadline
        loaded = self._ready(deadline, has_left)
        generation = loaded.engine.resolve(settings)
        if not images:
            return []

        def preprocess(image: np.ndarray) -> Any:
            check_shape(image)
            return loaded.preprocess(image)

        def make() -> list[list[Caption]]:
            pixels = SizedIterable(len(images), lambda: map(preprocess, images))
            captions = loaded.batcher.caption(pixels, generation, deadline, has_left, timings, on_text)
            self._warm_up_problem = None
            return captions

        is_cached = bool(self._configuration.cache_mb and digests)
        captions = self._cache.captions(digests, generation, make, deadline, has_left, timings) if is_cached else make()
        metrics.current.count_captions(self.name, sum(map(len, captions)))
        return captions

    def resolve(self, settings: GenerationSettings) -> Generation:
        """Merge settings with the model's defaults.

        Raises InvalidGeneration for settings beyond the model, CaptionerUnavailable without a model.
        """
        return self._ready(self.deadline).engine.resolve(settings)

    def _ready(self, patience: float, has_left: Callable[[], bool] = lambda: False) -> Loaded:
        """Return the model. Load it if no thread does; otherwise wait until it is loaded."""
        self._check_refusal()
        until = time.monotonic() + patience
        while not self._lock.acquire(timeout=POLL_INTERVAL):
            if has_left():
                raise ClientLeft("the client disconnected")
            if time.monotonic() >= until:
                raise ModelUnavailable(LOADING, RETRY_AFTER)
        try:
            return self._load()
        finally:
            self._lock.release()
