"""The worker of a server that has no broker: `python -m flaskapp.jobs.embedded`, which gunicorn's master starts.

It sleeps until a job comes, or one is left from before; then it forks a worker from itself, which asks the server's
engine processes for the captions. The worker is replaced when it dies, and let go when there is nothing to do. Neither
outlives the master.
"""

import ctypes
import logging
import os
import select
import signal
import sys
import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

from celery.exceptions import SecurityWarning

from flaskapp.captioner import captioner
from flaskapp.errors import FlaskappError
from flaskapp.jobs.service import Jobs
from flaskapp.machine import lower_priority

log = logging.getLogger(__name__)

TICK = 5.0  # seconds between two looks whether the master is there
POLL_INTERVAL = 60.0  # seconds between two looks for work, and for what is old
SHORTEST_LIFE, LONGEST_PAUSE = 1.0, 60.0  # seconds from a death to the next worker; doubled each time
PATIENCE = 5.0  # seconds that a worker may take to finish its chunk when the server stops
NOT_FOR_US = (  # sent by a terminal to all processes, or by name to those of the master
    signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGWINCH, signal.SIGTTIN, signal.SIGTTOU
)  # fmt: skip
PARENT_DIED = 1  # PR_SET_PDEATHSIG


def _run(live: Callable[[], None], at_parents_death: int, parent: int) -> NoReturn:
    """The whole life of a process."""
    status = 1
    try:
        for number in (signal.SIGTERM, signal.SIGQUIT, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        for number in NOT_FOR_US:
            signal.signal(number, signal.SIG_IGN)
        libc = ctypes.CDLL(None)
        if hasattr(libc, "prctl"):  # Linux only; elsewhere the supervisor looks now and then
            libc.prctl(PARENT_DIED, at_parents_death)
        if os.getppid() == parent:
            live()
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        log.exception("A process for caption jobs died")
    finally:
        os._exit(status)


class Supervisor:
    def __init__(self, jobs: Jobs, heard: int, master: int, engines: list[str], on_work: Callable[[], None]) -> None:
        self._jobs, self._heard, self._master, self._engines, self._on_work = jobs, heard, master, engines, on_work
        self._worker: int | None = None
        self._is_wanted = False
        self._started = self._not_before = 0.0
        self._pause = SHORTEST_LIFE
        self._next_look = 0.0

    def run(self) -> None:
        self._woken, waker = os.pipe()
        for end in (self._woken, waker):
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
            self._next_look = time.monotonic() + POLL_INTERVAL

    def _look(self) -> None:
        """Now and then: is there work, and what is old? A server that never had a job opens no database for that."""
        if time.monotonic() < self._next_look:
            return
        self._next_look = time.monotonic() + POLL_INTERVAL
        try:
            if self._jobs.queue.has_been_used:
                self._is_wanted = self._jobs.ledger.has_work()
                self._jobs.tidy()
        except FlaskappError as error:
            log.warning("Caption jobs cannot be looked after at the moment: %s", error)
        except Exception:  # nothing may end the supervisor
            log.exception("Caption jobs cannot be looked after")
        finally:
            self._jobs.ledger.close()  # no connection crosses the next fork
        if self._worker and not self._is_wanted:
            os.kill(self._worker, signal.SIGTERM)

    def _fork(self) -> None:
        supervisor = os.getpid()
        self._started = time.monotonic()
        try:
            pid = os.fork()
        except OSError as error:
            self._wait_longer()
            log.error("No worker for caption jobs can be forked: %s; tried again in %g seconds", error, self._pause)
            return
        if pid == 0:
            signal.set_wakeup_fd(-1)
            os.close(self._heard)
            _run(lambda: work(self._jobs, self._engines, self._on_work), signal.SIGKILL, supervisor)
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
            self._wait_longer()
            log.error("The worker for caption jobs died; the next begins in %g seconds", self._pause)

    def _wait_longer(self) -> None:
        has_lived = time.monotonic() - self._started > LONGEST_PAUSE
        self._pause = SHORTEST_LIFE if has_lived else min(2 * self._pause, LONGEST_PAUSE)
        self._not_before = time.monotonic() + self._pause

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


def work(jobs: Jobs, engines: list[str], on_work: Callable[[], None]) -> None:
    """Be a Celery worker until SIGTERM, beside the requests and not before them. Exits as it did."""
    on_work()
    captioner.connect(engines)
    warnings.simplefilter("ignore", SecurityWarning)  # about root, which runs the server as well then
    jobs.queue.prepare()
    jobs.start_threads()
    lower_priority()  # less than the captioning thread: with the lowest one, it must hold no lock of the database
    worker = jobs.queue.worker()
    worker.start()
    sys.exit(worker.exitcode)


def main() -> None:
    """`python -m flaskapp.jobs.embedded MASTER ENGINES METRICS_FOLDER PROCESS IDENTITY`; see `metrics.share`.

    Standard input is a pipe, on which the web workers ring for each job.
    """
    from flaskapp import create_app, metrics, settings
    from flaskapp.serving import json_log
    from flaskapp.serving.privileges import Identity

    master, engines, folder, process, identity = sys.argv[1:]
    with settings.exiting_on_error():
        json_log.configure(settings.read_one("LOG_FORMAT"))
        app = create_app()
    Identity.parse(identity).take()  # before prctl: a change of the user resets what that sets

    def count() -> None:
        metrics.share(Path(folder) if folder else None, process)

    supervisor = Supervisor(app.extensions["jobs"], sys.stdin.fileno(), int(master), engines.split(os.pathsep), count)
    _run(supervisor.run, signal.SIGTERM, int(master))


if __name__ == "__main__":
    main()
