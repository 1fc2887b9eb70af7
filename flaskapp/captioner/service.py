"""The captioner that views call: it is configured, loads its model, and hands images to the batcher."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import numpy as np

from flaskapp import metrics
from flaskapp.captioner.configuration import Configuration
from flaskapp.captioner.cores import Cores
from flaskapp.captioner.generation import GenerationSettings
from flaskapp.counted import Counted
from flaskapp.cpu import usable_cores
from flaskapp.errors import CaptionerUnavailable
from flaskapp.trace import Trace

if TYPE_CHECKING:
    from flaskapp.captioner.loading import Loaded  # others import it, and so torch, where it is needed first

log = logging.getLogger(__name__)

REASON = "there is no captioning model: it could not be loaded"  # the log has the details
LOADING = "the model is being loaded"


class Captioner:
    """One model, made in three steps: an empty object at import, `configure` in `create_app`, `load` by whoever serves.

    A process that forks its workers loads before the fork, so that they share the weights. Where nobody loads, the
    first caption does. A model that cannot be loaded is not tried again: every caption then says so.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._begins = threading.Lock()  # held by the thread that loads in the background
        self._on_death: Callable[[], None] = lambda: None
        self._cores = Cores(usable_cores())
        self._configuration = Configuration()
        self._forget()

    def configure(self, configuration: Configuration) -> None:
        """Say what `load` shall load. What another configuration had loaded is forgotten."""
        if configuration != self._configuration:
            self.close()
            self._configuration = configuration
            self._forget()

    def _forget(self) -> None:
        self._loaded: Loaded | None = None
        self._is_on_device = False
        self._has_failed = False

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

    def load(self) -> None:
        """Load the model, downloading it first if need be. Raises CaptionerUnavailable; the reason is in the log."""
        with self._lock:
            self._load()

    def load_in_background(self) -> None:
        """Begin to load the model, unless somebody did. Never waits."""
        if self.problem == LOADING and self._begins.acquire(blocking=False):
            try:
                threading.Thread(target=self._load_quietly, name="load", daemon=True).start()
            except RuntimeError:  # the system has no more threads: the next one who asks may be luckier
                self._begins.release()

    def _load_quietly(self) -> None:
        try:
            with suppress(CaptionerUnavailable):  # the log says why
                self.load()
        finally:
            self._begins.release()

    @property
    def problem(self) -> str | None:
        """Why there are no captions, if so. Never waits, unlike whoever wants one while the model is loaded."""
        if self._has_failed:
            return REASON
        return None if self._loaded is not None else LOADING

    @property
    def note(self) -> str | None:
        """What is to be known of the model that serves: that it is not the one that was meant."""
        return self._loaded.note if self._loaded is not None else None

    def close(self) -> None:
        """End the captioning thread, once it has captioned what it has. The next caption starts another."""
        if self._loaded is not None:
            self._loaded.batcher.close()

    @staticmethod
    def prepare_to_fork() -> None:
        """Keep torch to one thread. OpenMP's others do not survive a fork: a child would wait for them for ever."""
        import torch

        torch.set_num_threads(1)

    def continue_after_fork(self, number: int, on_death: Callable[[], None]) -> None:
        """Go on in a forked worker with a number of its own. `on_death` is called should its captioning thread die."""
        self._cores.take_place(number)
        self._on_death = on_death

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
        """Caption RGB images, uint8 [height, width, 3] of any sizes.

        They are taken one after the other, once there is room: a collection may decode each as it is asked for.
        `deadline` is in seconds from now, by default the configured one; with math.inf nothing is too late or too much.
        Where the time went is noted in `trace`.

        Returns for each image its `num_return_sequences` captions, the best first.
        Raises InvalidGeneration for settings beyond the model, CaptionerUnavailable when there is no model, TooBusy,
        DeadlineExceeded, CaptionFailed if the model fails at one of them, or ClientLeft once `has_left` says so.
        """
        with self._lock:
            loaded = self._load_on_device()
        loaded.engine.check(settings)
        if not images:
            return []
        pixels = Counted(len(images), lambda: map(loaded.preprocess, images))
        deadline = self._configuration.deadline if deadline is None else deadline
        captions = loaded.batcher.caption(pixels, settings, deadline, has_left, trace)
        metrics.current.count_captions(self.name, sum(map(len, captions)))
        return captions

    def _load(self) -> Loaded:
        if self._has_failed:
            raise CaptionerUnavailable(REASON)
        if self._loaded is None:
            with self._failing_for_good():
                from flaskapp.captioner import loading

                self._loaded = loading.load(self._configuration, self._cores, on_death=lambda: self._on_death())
                log.info("Captions come from the model %r", self._loaded.name)
        return self._loaded

    def _load_on_device(self) -> Loaded:
        """The weights move to the device with the first caption: CUDA, once used, does not survive a fork."""
        loaded = self._load()
        if not self._is_on_device:
            with self._failing_for_good():
                loaded.engine.move_to_device()
            self._is_on_device = True
        return loaded

    @contextmanager
    def _failing_for_good(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            self._has_failed = True
            log.exception("The captioning model cannot be loaded: /caption/ will answer 503")
            raise CaptionerUnavailable(REASON) from error
