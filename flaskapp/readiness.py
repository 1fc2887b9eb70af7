"""Cached health check with a timeout."""

import logging
import threading
import time
from collections.abc import Callable

from flaskapp.errors import FlaskappError

log = logging.getLogger(__name__)

MAX_AGE = 1.0  # seconds for which a result is cached
TIMEOUT = 2.0  # seconds that a caller waits for a result; on a busy machine a check takes more than one


class RecentCheck:
    """The result of a health check in a thread of its own, at most MAX_AGE seconds old."""

    def __init__(self, check: Callable[[], None], timeout_message: str) -> None:
        """`check` raises a FlaskappError on failure. `timeout_message` is the problem if it does not return in time."""
        self._check, self._timeout_message = check, timeout_message
        self._lock = threading.Lock()
        self._started = -MAX_AGE  # time of the last call
        self._is_done = threading.Event()
        self._is_done.set()
        self._problem: str | None = None

    def problem(self) -> str | None:
        """Return the message of the last failure, or None. Start a check if the last one is over and too old."""
        with self._lock:
            if self._is_done.is_set() and time.monotonic() >= self._started + MAX_AGE:
                self._start()
        left = self._started + TIMEOUT - time.monotonic()
        return self._problem if self._is_done.wait(max(0.0, left)) else self._timeout_message

    def _start(self) -> None:
        self._started = time.monotonic()
        self._is_done.clear()
        try:
            threading.Thread(target=self._run, name="check", daemon=True).start()
        except RuntimeError:  # no more threads in the system
            self._problem = self._timeout_message
            self._is_done.set()

    def _run(self) -> None:
        try:
            self._check()
        except FlaskappError as error:
            self._problem = str(error)
        except Exception:
            log.exception("A check failed unexpectedly")
            self._problem = "it cannot be used: the log says why"
        else:
            self._problem = None
        finally:
            self._is_done.set()
