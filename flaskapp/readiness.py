"""Cached health check with a timeout."""

import logging
import threading
import time
from collections.abc import Callable

from flaskapp.errors import FlaskappError

log = logging.getLogger(__name__)

FRESH = 1.0  # seconds that an answer is good for
PATIENCE = 1.0  # seconds that a caller waits for one


class RecentCheck:
    """What went wrong at the last call of `check`, which raises a FlaskappError if something does."""

    def __init__(self, check: Callable[[], None], silent: str) -> None:
        """`silent` are the words for a check that has no answer in time."""
        self._check, self._silent = check, silent
        self._lock = threading.Lock()
        self._asked = -FRESH  # when the last call began
        self._is_answered = threading.Event()
        self._is_answered.set()
        self._problem: str | None = None

    def problem(self) -> str | None:
        """None if all is well. No check begins before the last one is over."""
        with self._lock:
            if self._is_answered.is_set() and time.monotonic() >= self._asked + FRESH:
                self._begin()
        left = self._asked + PATIENCE - time.monotonic()
        return self._problem if self._is_answered.wait(max(0.0, left)) else self._silent

    def _begin(self) -> None:
        self._asked = time.monotonic()
        self._is_answered.clear()
        try:
            threading.Thread(target=self._ask, name="check", daemon=True).start()
        except RuntimeError:  # the system has no more threads
            self._problem = self._silent
            self._is_answered.set()

    def _ask(self) -> None:
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
            self._is_answered.set()
