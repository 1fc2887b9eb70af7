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

RENEW = 4.0  # seconds; some times in a lease
SWEEP = 8.0  # seconds


class LeaseRenewer:
    def __init__(self, ledger: Ledger, queue: Queue) -> None:
        self._ledger, self._queue = ledger, queue
        self._held: dict[Claim, threading.Event] = {}  # set when the claim is gone
        self._lock = threading.Lock()
        self._process = 0  # that the thread lives in: it does not survive a fork
        self._next_sweep = 0.0

    @contextmanager
    def holding(self, claim: Claim) -> Iterator[Callable[[], bool]]:
        """Keep a claim during the block, which gets a function that tells whether it is gone."""
        self.start()
        gone = threading.Event()
        with self._lock:
            self._held[claim] = gone
        try:
            yield gone.is_set
        finally:
            with self._lock:
                del self._held[claim]

    def start(self) -> None:
        """Start the thread, unless this process has it."""
        with self._lock:
            if self._process != os.getpid():
                self._process = os.getpid()
                threading.Thread(target=self._run, name="lease-renewer", daemon=True).start()

    def _run(self) -> None:
        while True:
            try:
                self._renew()
                if time.monotonic() >= self._next_sweep:
                    self._next_sweep = time.monotonic() + SWEEP
                    self.sweep()
            except Unavailable as error:
                log.warning("Claims could not be renewed: %s", error)
            except Exception:  # nothing may end it: leases would run out
                log.exception("The renewal of claims failed")
            time.sleep(RENEW)

    def _renew(self) -> None:
        with self._lock:
            held = dict(self._held)
        for claim, gone in held.items():
            if not self._ledger.renew(claim):
                gone.set()

    def sweep(self) -> None:
        """Send again what was lost, and end the jobs whose last worker could not."""
        self._ledger.finish()
        lost = self._ledger.lost(self._queue.is_empty())
        if lost:
            log.info("%d messages were lost and are sent again", len(lost))
            with self._queue.open() as send:
                send(lost)
