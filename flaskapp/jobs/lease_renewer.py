"""A worker's second thread: it renews the leases of its claims, and sends lost messages again."""

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from flaskapp.errors import Unavailable
from flaskapp.jobs.claims import Claim
from flaskapp.jobs.ledger import Ledger
from flaskapp.jobs.queue import Queue

log = logging.getLogger(__name__)

RENEWAL_INTERVAL = 4.0  # seconds: several times in a lease
SWEEP_INTERVAL = 8.0  # seconds between searches for lost messages


class LeaseRenewer:
    def __init__(self, ledger: Ledger, queue: Queue) -> None:
        self._ledger, self._queue = ledger, queue
        self._held: dict[Claim, threading.Event] = {}  # set when the claim is lost
        self._lock = threading.Lock()
        self._process = 0  # id of the process that has the thread: threads do not survive a fork
        self._next_sweep = 0.0

    @contextmanager
    def holding(self, claim: Claim) -> Iterator[Callable[[], bool]]:
        """Renew a claim during the block. Yields a function that tells whether the claim was lost."""
        self.start()
        lost = threading.Event()
        with self._lock:
            self._held[claim] = lost
        try:
            yield lost.is_set
        finally:
            with self._lock:
                del self._held[claim]

    def start(self) -> None:
        """Start the thread unless this process has it."""
        with self._lock:
            if self._process != os.getpid():
                self._process = os.getpid()
                threading.Thread(target=self._run, name="lease-renewer", daemon=True).start()

    def _run(self) -> None:
        while True:
            try:
                self._renew()
                if time.monotonic() >= self._next_sweep:
                    self._next_sweep = time.monotonic() + SWEEP_INTERVAL
                    self.sweep()
            except Unavailable as error:
                log.warning("Claims could not be renewed: %s", error)
            except Exception:  # without the thread, leases would expire
                log.exception("Claims could not be renewed")
            time.sleep(RENEWAL_INTERVAL)

    def _renew(self) -> None:
        with self._lock:
            held = dict(self._held)
        for claim, lost in held.items():
            if not self._ledger.renew(claim):
                lost.set()

    def sweep(self) -> None:
        """Send lost messages again, and end jobs whose last worker died after it had completed the last chunk."""
        self._ledger.finish()
        chunks = self._ledger.lost_chunks(self._queue.is_empty())
        if chunks:
            log.info("%d messages were lost and are sent again", len(chunks))
            with self._queue.open() as send:
                send(chunks)
