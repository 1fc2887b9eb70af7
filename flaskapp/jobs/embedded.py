"""Captions the jobs of a server without a broker: `python -m flaskapp.jobs.embedded`, started by gunicorn's master.

A supervisor waits until there are unfinished jobs, then forks a worker, which calls the server's engine processes. The
supervisor replaces a worker that dies, and stops it when no job is left. Both end with the master.
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

MASTER_CHECK_INTERVAL = 5.0  # seconds
POLL_INTERVAL = 60.0  # seconds between queries for unfinished and expired jobs
MIN_BACKOFF, MAX_BACKOFF = 1.0, 60.0  # seconds between a worker's death and the next worker; doubled each time
STOP_TIMEOUT = 5.0  # seconds for the worker to finish its chunk when the server stops
IGNORED_SIGNALS = (  # meant for the master, but also sent by a terminal to all its processes, or by `killall`
    signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGWINCH, signal.SIGTTIN, signal.SIGTTOU
)  # fmt: skip
PR_SET_PDEATHSIG = 1  # of linux/prctl.h


def _run(body: Callable[[], None], death_signal: int, parent: int) -> NoReturn:
    """Run `body` and exit the process. The kernel sends `death_signal` when the parent dies."""
    status = 1
    try:
        for number in (signal.SIGTERM, signal.SIGQUIT, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        for number in IGNORED_SIGNALS:
            signal.signal(number, signal.SIG_IGN)
        libc = ctypes.CDLL(None)
        if hasattr(libc, "prctl"):  # Linux only; elsewhere the supervisor polls
            libc.prctl(PR_SET_PDEATHSIG, death_signal)
        if os.getppid() == parent:
            body()
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        log.exception("A process for caption jobs died")
    finally:
        os._exit(status)


class Supervisor:
    """Keeps one worker running while there are unfinished jobs.

    `notifications` is the read end of a pipe; a byte in it means that there may be work. `master` is a process id.
    The worker calls `share_metrics` first, and gets captions from `engines`, Unix sockets.
    """

    def __init__(
        self, jobs: Jobs, notifications: int, master: int, engines: list[str], share_metrics: Callable[[], None]
    ) -> None:
        self._jobs, self._notifications, self._master = jobs, notifications, master
        self._engines, self._share_metrics = engines, share_metrics
        self._worker: int | None = None  # process id
        self._has_work = False
        self._started_at = self._next_start = 0.0
        self._backoff = MIN_BACKOFF
        self._next_poll = 0.0

    def run(self) -> None:
        self._woken, waker = os.pipe()
        for end in (self._woken, waker):
            os.set_blocking(end, False)
        signal.set_wakeup_fd(waker, warn_on_full_buffer=False)
        self._is_stopping = False
        signal.signal(signal.SIGTERM, self._stop)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        while not self._is_stopping and os.getppid() == self._master:
            self._reap()
            self._poll()
            if self._has_work and self._worker is None and time.monotonic() >= self._next_start:
                self._fork()
            self._sleep()
        self._stop_worker()

    def _stop(self, *_: Any) -> None:
        self._is_stopping = True

    def _sleep(self) -> None:
        timeout = MASTER_CHECK_INTERVAL
        if self._has_work and self._worker is None:
            timeout = min(timeout, max(0.1, self._next_start - time.monotonic()))
        ready, _, _ = select.select([self._notifications, self._woken], [], [], timeout)
        for end in ready:
            with suppress(BlockingIOError):
                os.read(end, 4096)
        if self._notifications in ready:
            self._has_work = True
            self._next_poll = time.monotonic() + POLL_INTERVAL

    def _poll(self) -> None:
        """Once a POLL_INTERVAL, query for unfinished jobs and remove expired ones.

        A server that never had a job opens no database for this.
        """
        if time.monotonic() < self._next_poll:
            return
        self._next_poll = time.monotonic() + POLL_INTERVAL
        try:
            if self._jobs.queue.has_been_used:
                self._has_work = self._jobs.ledger.has_work()
                self._jobs.tidy()
        except FlaskappError as error:
            log.warning("Caption jobs cannot be checked at the moment: %s", error)
        except Exception:  # the supervisor must not end
            log.exception("Caption jobs cannot be checked")
        finally:
            self._jobs.ledger.close()  # no connection crosses the next fork
        if self._worker and not self._has_work:
            os.kill(self._worker, signal.SIGTERM)

    def _fork(self) -> None:
        supervisor = os.getpid()
        self._started_at = time.monotonic()
        try:
            pid = os.fork()
        except OSError as error:
            self._back_off()
            log.error("The worker of caption jobs cannot be forked: %s; retry in %g seconds", error, self._backoff)
            return
        if pid == 0:
            signal.set_wakeup_fd(-1)
            os.close(self._notifications)
            _run(lambda: work(self._jobs, self._engines, self._share_metrics), signal.SIGKILL, supervisor)
        self._worker = pid
        log.info("The worker of caption jobs started (pid %d)", pid)

    def _reap(self) -> None:
        if self._worker is None:
            return
        pid, status = os.waitpid(self._worker, os.WNOHANG)
        if pid == 0:
            return
        self._worker = None
        if os.waitstatus_to_exitcode(status) != 0:
            self._back_off()
            log.error("The worker of caption jobs died; the next one starts in %g seconds", self._backoff)

    def _back_off(self) -> None:
        """Delay the next worker, twice as long each time. A worker that ran for MAX_BACKOFF resets the delay."""
        was_stable = time.monotonic() - self._started_at > MAX_BACKOFF
        self._backoff = MIN_BACKOFF if was_stable else min(2 * self._backoff, MAX_BACKOFF)
        self._next_start = time.monotonic() + self._backoff

    def _stop_worker(self) -> None:
        if self._worker is None:
            return
        with suppress(ProcessLookupError):
            os.kill(self._worker, signal.SIGTERM)
        until = time.monotonic() + STOP_TIMEOUT
        while time.monotonic() < until and self._worker is not None:
            select.select([self._woken], [], [], 0.1)
            self._reap()
        if self._worker is not None:
            os.kill(self._worker, signal.SIGKILL)
            os.waitpid(self._worker, 0)


def work(jobs: Jobs, engines: list[str], share_metrics: Callable[[], None]) -> None:
    """Run a Celery worker at low priority until SIGTERM. Exit with its exit code."""
    share_metrics()
    captioner.connect(engines)
    warnings.simplefilter("ignore", SecurityWarning)  # about root: the server runs as root, too
    jobs.queue.prepare()
    jobs.start_threads()
    lower_priority()  # not to the lowest: this process holds locks of the database
    # Celery writes "Warm shutdown" to this file's descriptor at SIGTERM, whatever the format of the log. `sys.stdout`
    # still works.
    sys.__stdout__ = None  # type: ignore[misc]
    worker = jobs.queue.worker()
    worker.start()
    sys.exit(worker.exitcode)


def main() -> None:
    """`python -m flaskapp.jobs.embedded MASTER ENGINES METRICS_FOLDER PROCESS IDENTITY`; see `metrics.share`.

    Standard input is a pipe: web workers write a byte when an unfinished job is submitted or read.
    """
    from flaskapp import create_app, metrics, settings
    from flaskapp.serving import json_log
    from flaskapp.serving.privileges import Identity

    master, engines, folder, process, identity = sys.argv[1:]
    with settings.exiting_on_error():
        json_log.configure(settings.read_one("LOG_FORMAT"))
        app = create_app()
    Identity.parse(identity).take()  # before prctl: a change of the user clears PR_SET_PDEATHSIG

    def share_metrics() -> None:
        metrics.share(Path(folder) if folder else None, process)

    supervisor = Supervisor(
        app.extensions["jobs"], sys.stdin.fileno(), int(master), engines.split(os.pathsep), share_metrics
    )
    _run(supervisor.run, signal.SIGTERM, int(master))


if __name__ == "__main__":
    main()
