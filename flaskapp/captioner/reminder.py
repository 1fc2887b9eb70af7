"""A warning that the log repeats."""

import logging
import threading

log = logging.getLogger(__name__)

INTERVAL = 3600.0  # seconds


class Reminder:
    """Repeats a warning until it is stopped."""

    def __init__(self, interval: float = INTERVAL) -> None:
        self._interval = interval  # seconds
        self._stopped: threading.Event | None = None  # of the thread that repeats, if there is one

    def start(self, message: str) -> None:
        """Repeat a warning from a thread of this process, unless one does."""
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
