"""The captioner that views call: it is configured, loads its model, and hands images to the batcher."""

from __future__ import annotations

import logging
import math
import random
import threading
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from flaskapp import metrics
from flaskapp.captioner.configuration import Configuration
from flaskapp.captioner.cores import Cores
from flaskapp.captioner.generation import Caption, Generation, GenerationSettings
from flaskapp.captioner.reminder import Reminder
from flaskapp.counted import Counted
from flaskapp.cpu import usable_cores
from flaskapp.errors import CaptionerUnavailable, FlaskappError, ModelUnavailable, UnusableCheckpoint
from flaskapp.trace import Trace

if TYPE_CHECKING:
    from flaskapp.captioner.loading import Loaded  # others import it, and so torch, where it is needed first

log = logging.getLogger(__name__)

REASON = "there is no captioning model: it could not be loaded"  # the log has the details
LOADING = "the model is being loaded"
WARMING_UP = "the model is warming up"
STALLED = "the model makes no progress"
WARM_UP_TOKENS = 4  # after the prompt: later ones take no longer
WARM_UP_SIDE = 224  # pixels of the image
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 30.0  # seconds before the hub is asked for the model again; doubled each time


class Captioner:
    """One model, made in three steps: an empty object at import, `configure` in `create_app`, `load` by whoever serves.

    A process that forks its workers loads before the fork, so that they share the weights. Otherwise the first caption
    does. While the hub does not offer the model, captions are refused, and `load_in_background` asks again with
    exponential back-off. A checkpoint that is broken or absent is not tried again.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._begins = threading.Lock()  # held by the thread that loads in the background
        self._on_death: Callable[[], None] = lambda: None
        self._cores = Cores(usable_cores())
        self._configuration = Configuration()
        self._reminder = Reminder()
        self._is_forking = False
        self._abandoned = threading.Event()  # ends the waits for another try
        self._forget()

    def configure(self, configuration: Configuration) -> None:
        """Say what `load` shall load. What another configuration had loaded is forgotten."""
        if configuration != self._configuration:
            self.close()
            self._abandoned.set()
            with self._lock:  # wait for a running try: its outcome belongs to the old configuration
                self._configuration = configuration
                self._abandoned = threading.Event()
                self._forget()

    def _forget(self) -> None:
        self._loaded: Loaded | None = None
        self._is_on_device = False
        self._has_failed = False
        self._warm_up_problem: str | None = None
        self._refusal: ModelUnavailable | None = None  # of the last try
        self._next_try = 0.0  # on the monotonic clock
        self._reminder.stop()

    @property
    def name(self) -> str:
        """What the answers' `model` says: the hub id, the folder's name, or "embedded". Known once it is loaded."""
        return self._loaded.name if self._loaded is not None else "none"

    @property
    def version(self) -> str | None:
        """What tells the model from others of that name. Known once it is loaded; never for clients to see."""
        return self._loaded.version if self._loaded is not None else None

    @property
    def input_side(self) -> int | None:
        """The longest side, in pixels, to which the model's preprocessing resizes an image. Known once it is loaded.

        None: the model takes images in their own size, or the size is unknown. Decode images in full then.
        """
        return self._loaded.input_side if self._loaded is not None else None

    def check_device(self) -> None:
        """Raises InvalidSetting for a device that is not here, and for a precision that is not for it."""
        from flaskapp.captioner import loading

        loading.choose_device(self._configuration)

    def load(self, *, patience: float = 0.0) -> None:
        """Load the model, downloading it first if need be.

        Where the hub does not offer it now, ask again with exponential back-off for `patience` seconds.
        Raises CaptionerUnavailable, which is a ModelUnavailable where a later try may succeed; the log has the reason.
        """
        until, pause, abandoned = time.monotonic() + patience, FIRST_PAUSE, self._abandoned
        while True:
            try:
                with self._lock:
                    self._load()
                return
            except ModelUnavailable as error:
                wait = max(pause * random.uniform(1, 1.5), error.retry_after or 0)
                self._next_try = time.monotonic() + wait
                if self._next_try > until or abandoned.wait(wait):
                    raise
                pause = min(2 * pause, LONGEST_PAUSE)

    def load_in_background(self) -> None:
        """Begin to load the model, and try until it is there, unless a thread does already. Never waits."""
        if self._loaded is None and not self._has_failed and self._begins.acquire(blocking=False):
            try:
                threading.Thread(target=self._load_quietly, name="load", daemon=True).start()
            except RuntimeError:  # the system has no more threads: the next one who asks may be luckier
                self._begins.release()

    def _load_quietly(self) -> None:
        self._warm_up_problem = WARMING_UP
        try:
            with suppress(CaptionerUnavailable):  # the log says why
                self.load(patience=math.inf)
                self.warm_up()
        finally:
            self._begins.release()

    def warm_up(self) -> None:
        """Caption one image of no interest, so that the first request finds everything allocated and started.

        A model that fails at it is not ready. It is tried again by the requests that come.
        """
        self._warm_up_problem = WARMING_UP
        image = np.full((WARM_UP_SIDE, WARM_UP_SIDE, 3), 128, np.uint8)
        settings = GenerationSettings(max_new_tokens=WARM_UP_TOKENS)
        try:
            self.describe([image], settings, deadline=math.inf)
        except FlaskappError as error:
            log.error("The model failed at its warm-up: %s", error)
            self._warm_up_problem = f"the model failed at its warm-up: {error}"

    @property
    def problem(self) -> str | None:
        """Why there are no captions, if so. Never waits, unlike whoever wants one while the model is loaded."""
        if self._has_failed:
            return REASON
        if self._loaded is None:
            refusal = self._refusal
            return LOADING if refusal is None else str(refusal)
        return STALLED if self._loaded.batcher.has_stalled else self._warm_up_problem

    @property
    def decoder(self) -> str | None:
        """What decodes requests with the default settings: "fast" or "generate". Known once the model is loaded."""
        if self._loaded is None:
            return None
        return "fast" if self._loaded.defaults.fallback is None else "generate"

    @property
    def decoder_reason(self) -> str | None:
        """Why it is not the fast decoder, if so."""
        return self._loaded.defaults.fallback if self._loaded is not None else None

    @property
    def defaults(self) -> Generation | None:
        """What a request amounts to that gives no settings. Known once the model is loaded."""
        return self._loaded.defaults if self._loaded is not None else None

    @property
    def takes_prompt(self) -> bool | None:
        """Whether the model takes text. Known once it is loaded."""
        return self._loaded.takes_prompt if self._loaded is not None else None

    @property
    def note(self) -> str | None:
        """What is to be known of the model that serves: that it is not the one that was meant."""
        return self._loaded.note if self._loaded is not None else None

    def close(self) -> None:
        """End the captioning thread, once it has captioned what it has. The next caption starts another."""
        if self._loaded is not None:
            self._loaded.batcher.close()

    def prepare_to_fork(self) -> None:
        """Keep torch to one thread. OpenMP's others do not survive a fork: a child would wait for them for ever."""
        import torch

        torch.set_num_threads(1)
        self._is_forking = True
        self._reminder.share_with_forks()

    def continue_after_fork(self, number: int, on_death: Callable[[], None]) -> None:
        """Go on in a forked worker with a number of its own. `on_death` is called should its captioning thread die."""
        self._cores.take_place(number)
        self._on_death = on_death
        self._is_forking = False
        self._remind()
        if self._loaded is not None:
            self._warm_up_problem = WARMING_UP
            threading.Thread(target=self.warm_up, name="warm-up", daemon=True).start()

    def continue_in_background(self) -> None:
        """Go on in a forked process that has time: with one core, which the others do not count, and last of all."""
        self._cores.withdraw()

    def worker_ended(self, number: int) -> None:
        """In the process that forked them: what the worker with this number had of the cores is free again."""
        self._cores.forget(number)

    def caption(
        self,
        images: Collection[np.ndarray],
        settings: GenerationSettings,
        has_left: Callable[[], bool] = lambda: False,
        *,
        deadline: float | None = None,
        trace: Trace | None = None,
    ) -> list[list[str]]:
        """The texts of `describe`."""
        described = self.describe(images, settings, has_left, deadline=deadline, trace=trace)
        return [[caption.text for caption in captions] for captions in described]

    def describe(
        self,
        images: Collection[np.ndarray],
        settings: GenerationSettings,
        has_left: Callable[[], bool] = lambda: False,
        *,
        deadline: float | None = None,
        trace: Trace | None = None,
    ) -> list[list[Caption]]:
        """Caption RGB images, uint8 [height, width, 3] of any sizes.

        They are taken one after the other, once there is room: a collection may decode each as it is asked for.
        `deadline` is in seconds from now, by default the configured one; with math.inf nothing is too late or too much.
        Where the time went is noted in `trace`.

        Returns for each image its `num_return_sequences` captions, the best first.
        Raises InvalidGeneration for settings beyond the model, CaptionerUnavailable when there is no model, TooBusy,
        DeadlineExceeded, CaptionFailed if the model fails at one of them, or ClientLeft once `has_left` says so.
        """
        loaded = self._ready()
        generation = loaded.engine.resolve(settings)
        if not images:
            return []
        pixels = Counted(len(images), lambda: map(loaded.preprocess, images))
        deadline = self._configuration.deadline if deadline is None else deadline
        captions = loaded.batcher.caption(pixels, generation, deadline, has_left, trace)
        self._warm_up_problem = None
        metrics.current.count_captions(self.name, sum(map(len, captions)))
        return captions

    def resolve(self, settings: GenerationSettings) -> Generation:
        """What a request amounts to. Raises InvalidGeneration for settings beyond the model, CaptionerUnavailable."""
        return self._ready().engine.resolve(settings)

    def _ready(self) -> Loaded:
        """The model, on its device. It is loaded if need be."""
        self._check_refusal()
        with self._lock:
            return self._load_on_device()

    def _check_refusal(self) -> None:
        """Refuse captions at once while the hub does not offer the model. Raises ModelUnavailable."""
        refusal = self._refusal
        if refusal is not None and self._loaded is None:
            self.load_in_background()
            raise ModelUnavailable(str(refusal), max(1.0, self._next_try - time.monotonic()))

    def _load(self) -> Loaded:
        if self._has_failed:
            raise CaptionerUnavailable(REASON)
        if self._loaded is None:
            with self._noting_failure():
                from flaskapp.captioner import loading

                self._loaded = loading.load(self._choose(), self._cores, on_death=lambda: self._on_death())
                self._report(self._loaded)
            self._remind()
        return self._loaded

    def _report(self, loaded: Loaded) -> None:
        if loaded.defaults.fallback is None:
            log.info("Captions come from the model %r by the fast decoder", loaded.name)
        else:
            reason = loaded.defaults.fallback
            log.warning("Captions come from the model %r by transformers' generate: %s", loaded.name, reason)

    def _choose(self) -> Configuration:
        """Once the hub answered, it can be reached: the embedded model no longer replaces the default one."""
        if self._configuration.model is None and self._refusal is not None:
            from flaskapp.captioner.checkpoints.hub import DEFAULT_MODEL

            return replace(self._configuration, model=DEFAULT_MODEL)
        return self._configuration

    def _remind(self) -> None:
        """Repeat in the log that another model serves. No thread may start before the fork."""
        if self.note is not None and not self._is_forking:
            self._reminder.start(self.note)

    def _load_on_device(self) -> Loaded:
        """The weights move to the device with the first caption: CUDA, once used, does not survive a fork."""
        loaded = self._load()
        if not self._is_on_device:
            with self._noting_failure():
                loaded.engine.move_to_device()
            self._is_on_device = True
            metrics.current.set_decoder(loaded.name, "fast" if loaded.defaults.fallback is None else "generate")
        return loaded

    @contextmanager
    def _noting_failure(self) -> Iterator[None]:
        try:
            yield
        except ModelUnavailable as error:
            self._refusal = error
            log.warning("%s: /caption/ answers 503, and the server tries again", error)
            raise
        except UnusableCheckpoint as error:
            self._has_failed = True
            log.error("The captioning model cannot be used: %s. /caption/ will answer 503", error)
            raise CaptionerUnavailable(REASON) from error
        except Exception as error:
            self._has_failed = True
            log.exception("The captioning model cannot be loaded: /caption/ will answer 503")
            raise CaptionerUnavailable(REASON) from error
