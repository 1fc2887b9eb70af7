"""The processes of a server beside its web workers: an engine for each device, and the job supervisor."""

import logging
import time
from collections.abc import Callable, Sequence

from flaskapp import settings
from flaskapp.serving.engine_process import EngineProcess
from flaskapp.serving.job_process import JobProcess
from flaskapp.serving.metrics_files import metrics_files
from flaskapp.serving.privileges import Identity

log = logging.getLogger(__name__)

RELOAD_TIMEOUT = 60.0  # seconds for the new model to load before the web workers are replaced


class Processes:
    """gunicorn's master starts, restarts, replaces and stops these processes.

    `identity` is the user of the web workers. If an engine cannot use a setting, a thread calls `on_bad_setting`.
    """

    def __init__(self, identity: Identity, on_bad_setting: Callable[[], None]) -> None:
        self._identity = identity
        self._devices = settings.devices()
        self.metrics_slots: list[int | None] = []  # all slots in use
        self._slots = [self._allocate_slot() for _ in self._devices]  # of the engines
        self._spare_slots = [self._allocate_slot() for _ in self._devices]  # of the engines that replace them
        self._engines = self._start_engines(on_bad_setting)
        self.jobs: JobProcess | None = None
        if settings.has_own_queue():
            self.jobs = JobProcess(self.addresses, metrics_files.arguments(self._allocate_slot()), identity)

    @property
    def addresses(self) -> list[str]:
        """The Unix sockets of the engine processes."""
        return [engine.address for engine in self._engines]

    def keep(self) -> None:
        """Restart the job supervisor if it died. Each engine is restarted by its host."""
        if self.jobs is not None:
            self.jobs.keep()

    def reload(self) -> None:
        """Replace the engines and the job supervisor by new processes with the current code and model files.

        Waits for the new engines to load the model. If one of them cannot, and an old engine has a model, keeps the old
        ones.
        """
        self._slots, self._spare_slots = self._spare_slots, self._slots
        old, new = self._engines, self._start_engines(on_bad_setting=lambda: None)
        until = time.monotonic() + RELOAD_TIMEOUT
        have_models = [engine.wait_until_loaded(until - time.monotonic()) for engine in new]
        if not all(have_models) and any(engine.problem is None for engine in old):
            log.error("The new engine process has no model: the old one is kept")
            _stop(new)
            self._slots, self._spare_slots = self._spare_slots, self._slots
            return
        for engine in old:
            engine.release()  # the old web workers use it until they are replaced
        self._engines = new
        if self.jobs is not None:
            self.jobs.restart(self.addresses)

    def stop(self) -> None:
        """Stop all processes, and wait until they have ended, with a time-out for each."""
        if self.jobs is not None:
            self.jobs.stop()
        _stop(self._engines)

    def _allocate_slot(self) -> int | None:
        self.metrics_slots.append(metrics_files.allocate(self.metrics_slots))
        return self.metrics_slots[-1]

    def _start_engines(self, on_bad_setting: Callable[[], None]) -> list[EngineProcess]:
        return [
            EngineProcess(device, metrics_files.arguments(slot), self._identity, on_bad_setting)
            for device, slot in zip(self._devices, self._slots, strict=True)
        ]


def _stop(engines: Sequence[EngineProcess]) -> None:
    for engine in engines:
        engine.end()
    for engine in engines:
        engine.stop()
