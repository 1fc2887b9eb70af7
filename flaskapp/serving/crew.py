"""Threads that take turns in leading: the leader waits for work, and does it himself.

To hand light work over to another thread costs more than to do it. When the leader is longer than a moment at a piece
of work, whoever watches lets another one lead, and threads are started only when all that exist are at work.

Reference: the pattern is "Leader/Followers" (Schmidt et al., 2000).
"""

import logging
import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

log = logging.getLogger(__name__)

MOMENT = 0.005  # seconds

Work = TypeVar("Work")


class Crew(Generic[Work]):
    def __init__(
        self,
        find: Callable[[], Work | None],
        do: Callable[[Work], None],
        *,
        most: int,
        on_death: Callable[[], None],
    ) -> None:
        """`find` is called by one thread at a time, and returns now and then, if only None; `do` by many.

        There will be at most so many threads. `on_death` is called should one of them die.
        """
        self._find, self._do = find, do
        self._most = most
        self._on_death = on_death
        self._leadership = threading.Lock()
        self._threads = 0
        self._hand = threading.Lock()  # holds the next two
        self._working_since: float | None = None  # the leader
        self._followers = 0
        self._is_working = threading.Event()
        self._is_over = False

    def start(self) -> None:
        """Start a thread, the first one or one more."""
        threading.Thread(target=self._live, name=f"crew-{self._threads + 1}", daemon=True).start()
        self._threads += 1

    def stop(self) -> None:
        """Find no more work."""
        self._is_over = True

    def watch(self, patience: float) -> None:
        """Let another thread lead if the leader is too long at his work. To be called again and again.

        Returns after so many seconds if there is no work.
        """
        since = self._working_since
        if since is None:
            self._is_working.clear()
            if self._working_since is None:
                self._is_working.wait(patience)
            return
        time.sleep(max(0.0, since + MOMENT - time.monotonic()))
        with self._hand:
            if self._working_since != since:
                return
            self._working_since = None
            is_short = not self._followers and self._threads < self._most
        self._leadership.release()
        if is_short:
            try:
                self.start()
            except RuntimeError:  # the system has no more threads: those that are there go on
                log.warning("No more threads can be started than %d", self._threads)

    def _live(self) -> None:
        try:
            while not self._is_over:
                with self._hand:
                    self._followers += 1
                self._leadership.acquire()
                with self._hand:
                    self._followers -= 1
                self._lead()
        except BaseException:
            self._on_death()
            raise

    def _lead(self) -> None:
        """Until the end, or until another one leads."""
        while not self._is_over:
            work = self._find()
            if work is None:
                continue
            since = time.monotonic()
            with self._hand:
                self._working_since = since
            if not self._is_working.is_set():
                self._is_working.set()
            self._do(work)
            with self._hand:
                if self._working_since != since:
                    return
                self._working_since = None
        self._leadership.release()
