"""A warning that the log repeats, once for all processes of a server."""

import logging
import tempfile
import threading
from contextlib import suppress
from pathlib import Path

log = logging.getLogger(__name__)

INTERVAL = 3600.0  # seconds


class Reminder:
    """Repeats a warning until it is stopped.

    Forked processes elect one that does: it holds a lock on a file that they inherit, until it ends.
    """

    def __init__(self, interval: float = INTERVAL) -> None:
        self._interval = interval  # seconds
        self._lock_file: int | None = None  # a file descriptor, open as long as the process
        self._stopped: threading.Event | None = None  # of the thread that repeats, if there is one

    def share_with_forks(self) -> None:
        """For the process that forks the others, before it does."""
        if self._lock_file is None:
            with suppress(OSError):  # no folder can be written to: each process repeats the warning
                self._lock_file, path = tempfile.mkstemp()
                Path(path).unlink()

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
            if self._is_elected():
                log.warning("%s", message)

    def _is_elected(self) -> bool:
        """POSIX record locks belong to a process, not to a file descriptor: forked processes do not share them."""
        if self._lock_file is None:
            return True
        import fcntl  # only systems that fork have it

        try:
            fcntl.lockf(self._lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        return True
