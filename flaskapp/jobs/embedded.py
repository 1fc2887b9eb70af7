"""The worker of a server that has no broker.

A supervisor is forked from the server's master once the model is loaded. It sleeps until a job comes, or one is left
from before; then it forks a worker from itself, which so has the model's weights without loading them. The worker is
replaced when it dies, and let go when there is nothing to do. Neither outlives the master.
"""

import ctypes
import logging
import os
import select
import signal
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, NoReturn

from celery.exceptions import SecurityWarning

from flaskapp.captioner import captioner
from flaskapp.errors import FlaskappError
from flaskapp.jobs.service import Jobs

log = logging.getLogger(__name__)

TICK = 5.0  # seconds between two looks whether the master is there
LOOK = 60.0  # seconds between two looks for work, and for what is old
MODEST = 19  # the worker's niceness: it takes what requests leave
SHORTEST_LIFE, LONGEST_PAUSE = 1.0, 60.0  # seconds from a death to the next worker; doubled each time
PATIENCE = 5.0  # seconds that a worker may take to finish its chunk when the server stops
PARENT_DIED = 1  # PR_SET_PDEATHSIG

_supervisor: int | None = None


def start(jobs: Jobs, listeners: Sequence[Any]) -> None:
    """Fork the supervisor, if the queue is in a folder here. It must not keep the master's listeners open."""
    global _supervisor
    if not jobs.queue.is_local:
        return
    heard, bell = os.pipe()
    master = os.getpid()
    _supervisor = os.fork()
    if _supervisor == 0:
        _run(lambda: Supervisor(jobs, heard, master).run(), signal.SIGTERM, master, [*listeners, os.fdopen(bell, "wb")])
    os.close(heard)
    os.set_blocking(bell, False)
    jobs.on_submit = lambda: _ring(bell)


def stop() -> None:
    """Stop the supervisor and its worker, and wait for them."""
    if _supervisor:
        with suppress(ProcessLookupError, ChildProcessError):
            os.kill(_supervisor, signal.SIGTERM)
            os.waitpid(_supervisor, 0)


def _ring(bell: int) -> None:
    """A full pipe has rung already; without a supervisor the job waits for the next start."""
    with suppress(BlockingIOError):
        try:
            os.write(bell, b"!")
        except BrokenPipeError:
            log.error("Nobody captions the job: the supervisor of the worker is gone; restart the server")


def _run(live: Callable[[], None], at_parents_death: int, parent: int, not_ours: Sequence[Any]) -> NoReturn:
    """The whole life of a forked process."""
    status = 1
    try:
        for number in (signal.SIGTERM, signal.SIGQUIT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # from a terminal: the master passes on what it means
        if sys.platform == "linux":
            ctypes.CDLL(None).prctl(PARENT_DIED, at_parents_death)
        if os.getppid() == parent:
            for each in not_ours:
                each.close()
            live()
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        log.exception("A process for caption jobs died")
    finally:
        os._exit(status)


class Supervisor:
    def __init__(self, jobs: Jobs, heard: int, master: int) -> None:
        self._jobs, self._heard, self._master = jobs, heard, master
        self._worker: int | None = None
        self._is_wanted = False
        self._started = self._not_before = 0.0
        self._pause = SHORTEST_LIFE
        self._next_look = 0.0

    def run(self) -> None:
        self._woken, waker = os.pipe()
        for end in (self._woken, waker, self._heard):
            os.set_blocking(end, False)
        signal.set_wakeup_fd(waker, warn_on_full_buffer=False)
        self._is_over = False
        signal.signal(signal.SIGTERM, self._end)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        while not self._is_over and os.getppid() == self._master:
            self._reap()
            self._look()
            if self._is_wanted and self._worker is None and time.monotonic() >= self._not_before:
                self._fork()
            self._sleep()
        self._stop_worker()

    def _end(self, *_: Any) -> None:
        self._is_over = True

    def _sleep(self) -> None:
        patience = TICK if self._worker or not self._is_wanted else max(0.1, self._not_before - time.monotonic())
        ready, _, _ = select.select([self._heard, self._woken], [], [], min(TICK, patience))
        for end in ready:
            with suppress(BlockingIOError):
                os.read(end, 4096)
        if self._heard in ready:
            self._is_wanted = True
            self._next_look = time.monotonic() + LOOK

    def _look(self) -> None:
        """Now and then: is there work, and what is old? A server that never had a job opens no database for that."""
        if time.monotonic() < self._next_look or not self._jobs.queue.has_been_used:
            return
        self._next_look = time.monotonic() + LOOK
        try:
            self._jobs.tidy()
            self._is_wanted = self._jobs.ledger.has_work()
        except FlaskappError as error:
            log.warning("Whether there are caption jobs cannot be told: %s", error)
        finally:
            self._jobs.ledger.close()  # no connection crosses the next fork
        if self._worker and not self._is_wanted:
            os.kill(self._worker, signal.SIGTERM)

    def _fork(self) -> None:
        supervisor = os.getpid()
        self._started = time.monotonic()
        pid = os.fork()
        if pid == 0:
            signal.set_wakeup_fd(-1)
            _run(lambda: work(self._jobs), signal.SIGKILL, supervisor, [os.fdopen(self._heard)])
        self._worker = pid
        log.info("A worker for caption jobs begins (pid %d)", pid)

    def _reap(self) -> None:
        if self._worker is None:
            return
        pid, status = os.waitpid(self._worker, os.WNOHANG)
        if pid == 0:
            return
        self._worker = None
        if os.waitstatus_to_exitcode(status) != 0:
            has_lived = time.monotonic() - self._started > LONGEST_PAUSE
            self._pause = SHORTEST_LIFE if has_lived else min(2 * self._pause, LONGEST_PAUSE)
            self._not_before = time.monotonic() + self._pause
            log.error("The worker for caption jobs died; the next begins in %g seconds", self._pause)

    def _stop_worker(self) -> None:
        if self._worker is None:
            return
        with suppress(ProcessLookupError):
            os.kill(self._worker, signal.SIGTERM)
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until and self._worker is not None:
            select.select([self._woken], [], [], 0.1)
            self._reap()
        if self._worker is not None:
            os.kill(self._worker, signal.SIGKILL)
            os.waitpid(self._worker, 0)


def work(jobs: Jobs) -> None:
    """Be a Celery worker until SIGTERM, beside the requests and not before them. Exits as it did."""
    os.nice(MODEST)
    captioner.continue_in_background()
    warnings.simplefilter("ignore", SecurityWarning)  # of root, who runs the server as well then
    jobs.queue.prepare()
    jobs.keeper.start()
    worker = jobs.queue.celery.Worker(
        pool="solo", quiet=True, without_gossip=True, without_mingle=True, without_heartbeat=True
    )
    worker.start()  # returns even after what it calls unrecoverable
    sys.exit(worker.exitcode)
