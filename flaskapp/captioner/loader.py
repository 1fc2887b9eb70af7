"""Loads the one model of a process, now or in the background, and retries while the hub does not offer it."""

from __future__ import annotations

import gc
import logging
import math
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from types import ModuleType
from typing import TYPE_CHECKING

from flaskapp import metrics
from flaskapp.captioner.configuration import Configuration
from flaskapp.errors import CaptionerUnavailable, ModelUnavailable, UnusableCheckpoint

if TYPE_CHECKING:
    from flaskapp.captioner.loading import Loaded  # imports torch: at run time, only functions import it

log = logging.getLogger(__name__)

REASON = "there is no captioning model: it could not be loaded"  # the log has the details
LOADING = "the model is being loaded"
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 30.0  # seconds between tries of the hub; doubled each time
REMINDER_INTERVAL = 3600.0  # seconds between two warnings that a substitute serves


def _import_loading() -> ModuleType:
    """Import the module that needs torch and transformers. Garbage collection would take a tenth of that time."""
    is_enabled = gc.isenabled()
    gc.disable()
    try:
        from flaskapp.captioner import loading
    finally:
        if is_enabled:
            gc.enable()
    return loading


class Reminder:
    """Repeats a warning in the log until it is stopped."""

    def __init__(self, interval: float = REMINDER_INTERVAL) -> None:
        self._interval = interval  # seconds
        self._stopped: threading.Event | None = None  # ends the running thread

    def start(self, message: str) -> None:
        """Start to repeat a warning, unless a thread does already."""
        if self._stopped is None:
            self._stopped = threading.Event()
            threading.Thread(target=self._run, args=[message, self._stopped], name="reminder", daemon=True).start()

    def stop(self) -> None:
        if self._stopped is not None:
            self._stopped.set()
            self._stopped = None

    def _run(self, message: str, stopped: threading.Event) -> None:
        while not stopped.wait(self._interval):
            log.warning("%s", message)


class ModelLoader:
    """Loads the configured model.

    A broken or missing checkpoint is not tried again. While the hub does not offer the model, captions are refused,
    and `load_in_background` retries with exponential back-off.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.after_load: Callable[[], None] = lambda: None  # called by the thread that loads, before the warm-up
        self._load_lock = threading.Lock()  # held by the thread that loads in the background
        self._configuration = Configuration()
        self._reminder = Reminder()
        self._abandoned = threading.Event()  # ends the waits between tries
        self._reset()

    def configure(self, configuration: Configuration) -> None:
        """Set the configuration for `load`. Close the model of another configuration."""
        if configuration != self._configuration:
            self.close()
            self._abandoned.set()
            with self._lock:  # a running try must end first: its result belongs to the old configuration
                self._configuration = configuration
                self._abandoned = threading.Event()
                self._reset()

    def _reset(self) -> None:
        self._loaded: Loaded | None = None
        self._has_failed = False
        self._refusal: ModelUnavailable | None = None  # error of the last try
        self._next_try = 0.0  # monotonic time
        self._reminder.stop()

    @property
    def name(self) -> str:
        """The model's name in answers: its hub id, its folder's name, or "embedded". "none" until it is loaded."""
        return self._loaded.name if self._loaded is not None else "none"

    @property
    def version(self) -> str | None:
        """Distinguishes models of the same name. None until the model is loaded. Clients see only its beginning."""
        return self._loaded.version if self._loaded is not None else None

    @property
    def note(self) -> str | None:
        """A warning if a substitute serves in place of the default model."""
        return self._loaded.note if self._loaded is not None else None

    def check_device(self) -> None:
        """Raise InvalidSetting if the device is not available, or does not support the precision."""
        _import_loading().choose_device(self._configuration)

    def load(self, *, patience: float = 0.0) -> None:
        """Load the model. Download it first if it is not in the cache.

        While the hub does not offer it, retry with exponential back-off for `patience` seconds.
        Raises CaptionerUnavailable; its subclass ModelUnavailable if a later try may succeed. The log has the reason.
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
        """Start a thread that loads the model, with retries, and warms it up, unless one runs. Never blocks."""
        if not self._is_prepared and not self._has_failed and self._load_lock.acquire(blocking=False):
            try:
                threading.Thread(target=self._load_quietly, name="load", daemon=True).start()
            except RuntimeError:  # the system has no more threads: the next call tries again
                self._load_lock.release()

    @property
    def _is_prepared(self) -> bool:
        """Whether loading and warm-up are complete."""
        return self._loaded is not None

    def warm_up(self) -> None:
        """Run once after a load in the background."""

    @property
    def problem(self) -> str | None:
        """Why there is no model, or None. Never blocks, unlike a caption while the model is being loaded."""
        if self._has_failed:
            return REASON
        if self._loaded is None:
            refusal = self._refusal
            return LOADING if refusal is None else str(refusal)
        return None

    def _load_quietly(self) -> None:
        try:
            with suppress(CaptionerUnavailable):  # the log says why
                self.load(patience=math.inf)
                self.after_load()
                self.warm_up()
        finally:
            self._load_lock.release()

    def close(self) -> None:
        """Caption all waiting images, then end the captioning threads. The next caption starts them again."""
        if self._loaded is not None:
            self._loaded.batcher.close()

    def _check_refusal(self) -> None:
        """Raise ModelUnavailable immediately while the hub does not offer the model."""
        refusal = self._refusal
        if refusal is not None and self._loaded is None:
            self.load_in_background()
            raise ModelUnavailable(str(refusal), max(1.0, self._next_try - time.monotonic()))

    def _load(self) -> Loaded:
        if self._has_failed:
            raise CaptionerUnavailable(REASON)
        if self._loaded is None:
            with self._recorded_failure():
                self._loaded = _import_loading().load(self._choose())
            self._report(self._loaded)
            self._remind()
        return self._loaded

    def _report(self, loaded: Loaded) -> None:
        if loaded.defaults.fallback is None:
            log.info("Captions come from the model %r by the fast decoder", loaded.name)
        else:
            reason = loaded.defaults.fallback
            log.warning("Captions come from the model %r by transformers' generate: %s", loaded.name, reason)
        metrics.current.set_decoder(loaded.name, "fast" if loaded.defaults.fallback is None else "generate")

    def _choose(self) -> Configuration:
        """Return the configuration. After an answer of the hub, the embedded model cannot replace the default one."""
        if self._configuration.model is None and self._refusal is not None:
            from flaskapp.captioner.checkpoints.hub import DEFAULT_MODEL

            return replace(self._configuration, model=DEFAULT_MODEL)
        return self._configuration

    def _remind(self) -> None:
        """Repeat in the log that a substitute serves."""
        if self.note is not None:
            self._reminder.start(self.note)

    @contextmanager
    def _recorded_failure(self) -> Iterator[None]:
        try:
            yield
        except ModelUnavailable as error:
            self._refusal = error
            log.warning("%s: /caption/ answers 503, and the server tries again", error)
            raise
        except (UnusableCheckpoint, FileNotFoundError) as error:
            self._has_failed = True
            log.error("The captioning model cannot be used: %s. /caption/ will answer 503", error)
            raise CaptionerUnavailable(REASON) from error
        except Exception as error:
            self._has_failed = True
            log.exception("The captioning model cannot be loaded: /caption/ will answer 503")
            raise CaptionerUnavailable(REASON) from error
