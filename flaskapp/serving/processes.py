"""The processes that a server has beside its web workers: an engine for each device, and one for caption jobs."""

import logging
import time
from collections.abc import Callable, Sequence

from flaskapp import settings
from flaskapp.serving.engine_process import EngineProcess
from flaskapp.serving.job_process import JobProcess
from flaskapp.serving.metrics_files import metrics_files
from flaskapp.serving.privileges import Identity

log = logging.getLogger(__name__)

RELOAD = 60.0  # seconds that a new model may take before the web workers are replaced


class Processes:
    """Started, kept, replaced and stopped by gunicorn's master.

    `identity` is the web workers'. `on_bad_setting` is called, in a thread, when an engine cannot use a setting.
    """

    def __init__(self, identity: Identity, on_bad_setting: Callable[[], None]) -> None:
        self._identity = identity
        self._devices = settings.devices()
        self.metrics_places: list[int | None] = []  # all that are taken
        self._places = [self._make_room() for _ in self._devices]  # of the engines
        self._spare_places = [self._make_room() for _ in self._devices]  # of those that follow them
        self._engines = self._start_engines(on_bad_setting)
        self.jobs: JobProcess | None = None
        if settings.has_own_queue():
            self.jobs = JobProcess(self.addresses, metrics_files.arguments(self._make_room()), identity)

    @property
    def addresses(self) -> list[str]:
        """The Unix sockets of the engine processes."""
        return [engine.address for engine in self._engines]

    def keep(self) -> None:
        """Start the process for caption jobs again where it died. Each engine's host keeps that."""
        if self.jobs is not None:
            self.jobs.keep()

    def reload(self) -> None:
        """Start new ones, with the code and the files that are there now, for the web workers that will be forked.

        Waits until the new engines have a model. Where one will have none, and those of now have, these stay.
        """
        self._places, self._spare_places = self._spare_places, self._places
        old, new = self._engines, self._start_engines(on_bad_setting=lambda: None)
        until = time.monotonic() + RELOAD
        have_models = [engine.wait_until_loaded(until - time.monotonic()) for engine in new]
        if not all(have_models) and any(engine.problem is None for engine in old):
            log.error("The new engine process has no model: the old one stays")
            _stop(new)
            self._places, self._spare_places = self._spare_places, self._places
            return
        for engine in old:
            engine.release()  # the old web workers serve until they are replaced
        self._engines = new
        if self.jobs is not None:
            self.jobs.restart(self.addresses)

    def stop(self) -> None:
        """Stop them, and wait until they have ended, with a timeout for each."""
        if self.jobs is not None:
            self.jobs.stop()
        _stop(self._engines)

    def _make_room(self) -> int | None:
        self.metrics_places.append(metrics_files.make_room(self.metrics_places))
        return self.metrics_places[-1]

    def _start_engines(self, on_bad_setting: Callable[[], None]) -> list[EngineProcess]:
        return [
            EngineProcess(device, metrics_files.arguments(place), self._identity, on_bad_setting)
            for device, place in zip(self._devices, self._places, strict=True)
        ]


def _stop(engines: Sequence[EngineProcess]) -> None:
    for engine in engines:
        engine.end()
    for engine in engines:
        engine.stop()
