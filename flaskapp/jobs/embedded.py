"""The worker of a server that has no broker.

A supervisor is forked from the server's master. It sleeps until a job comes, or one is left from before; then it forks
a worker from itself, which asks the server's engine process for the captions. The worker is replaced when it dies, and
let go when there is nothing to do. Neither outlives the master.
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
from flaskapp.captioner.niceness import give_way
from flaskapp.errors import FlaskappError
from flaskapp.jobs.service import Jobs

log = logging.getLogger(__name__)

TICK = 5.0  # seconds between two looks whether the master is there
LOOK = 60.0  # seconds between two looks for work, and for what is old
SHORTEST_LIFE, LONGEST_PAUSE = 1.0, 60.0  # seconds from a death to the next worker; doubled each time
PATIENCE = 5.0  # seconds that a worker may take to finish its chunk when the server stops
PATIENCE_WITH_SUPERVISOR = 8.0  # seconds, which must be more
NOT_FOR_US = (  # what a terminal sends to all, or somebody who means the master by its name
    signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGWINCH, signal.SIGTTIN, signal.SIGTTOU
)  # fmt: skip
PARENT_DIED = 1  # PR_SET_PDEATHSIG

_supervisor: int | None = None
_fork: Callable[[], int] | None = None  # makes one
_on_loss: Callable[[], None] | None = None  # what a web worker does when there is none


def start(
    jobs: Jobs,
    listeners: Sequence[Any],
    engine: str,
    on_work: Callable[[], None],
    drop_privileges: Callable[[], None],
) -> None:
    """Fork the supervisor of a queue in a folder here. It must not keep the master's listeners open.

    `engine` is the Unix socket of the process that captions.

    The supervisor calls `drop_privileges` before anything else, so that it and its worker, which decodes uploads, have
    no more privileges than the web workers. A worker calls `on_work` first.
    """
    global _fork
    heard, bell = os.pipe()  # the master keeps both ends: the next supervisor hears what the last one did not
    for end in (heard, bell):
        os.set_blocking(end, False)

    def fork() -> int:
        master = os.getpid()
        pid = os.fork()
        if pid == 0:
            supervisor = Supervisor(jobs, heard, master, engine, on_work)
            _run(supervisor.run, signal.SIGTERM, master, listeners, drop_privileges)
        return pid

    _fork = fork
    jobs.on_submit = lambda: _ring(bell)
    keep()


def keep() -> None:
    """Fork another supervisor where one died. For the master, before it forks a web worker."""
    global _supervisor
    if _fork is None or (_supervisor is not None and _is_child(_supervisor)):
        return
    if _supervisor is not None:
        log.error("The supervisor of caption jobs died; another begins")
    try:
        _supervisor = _fork()
    except OSError as error:
        log.error("No supervisor of caption jobs can be forked: %s", error)


def watch(on_loss: Callable[[], None]) -> None:
    """In a web worker: call this when a job comes and there is no supervisor, so that the master does `keep`."""
    global _on_loss
    _on_loss = on_loss


def stop() -> None:
    """Stop the supervisor and its worker, and wait for them, but not for ever."""
    if _supervisor is None or not _is_child(_supervisor):
        return
    os.kill(_supervisor, signal.SIGTERM)
    until = time.monotonic() + PATIENCE_WITH_SUPERVISOR
    while _is_child(_supervisor):
        if time.monotonic() >= until:
            os.kill(_supervisor, signal.SIGKILL)  # its worker goes with it
            os.waitpid(_supervisor, 0)
            return
        time.sleep(0.05)


def _is_child(pid: int) -> bool:
    """Whether a process is a living child of this one. gunicorn's master takes note of those that died."""
    try:
        return os.waitpid(pid, os.WNOHANG) == (0, 0)
    except ChildProcessError:
        return False


def _ring(bell: int) -> None:
    """Wake the supervisor, or the next one: a job that was taken is seen to."""
    with suppress(BlockingIOError):  # full: it has rung already
        os.write(bell, b"!")
    try:
        if _supervisor is not None:
            os.kill(_supervisor, 0)
    except ProcessLookupError:
        log.error("Nobody looks after caption jobs: this web worker is replaced, and the supervisor with it")
        if _on_loss is not None:
            _on_loss()
    except PermissionError:  # it is there, and another user's
        pass


def _run(
    live: Callable[[], None],
    at_parents_death: int,
    parent: int,
    not_ours: Sequence[Any],
    drop_privileges: Callable[[], None] = lambda: None,
) -> NoReturn:
    """The whole life of a forked process."""
    status = 1
    try:
        drop_privileges()  # before prctl: a change of the user resets what that sets
        for number in (signal.SIGTERM, signal.SIGQUIT, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        for number in NOT_FOR_US:
            signal.signal(number, signal.SIG_IGN)
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
    def __init__(self, jobs: Jobs, heard: int, master: int, engine: str, on_work: Callable[[], None]) -> None:
        self._jobs, self._heard, self._master, self._engine, self._on_work = jobs, heard, master, engine, on_work
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
            self._next_look = time.monotonic() + LOOK

    def _look(self) -> None:
        """Now and then: is there work, and what is old? A server that never had a job opens no database for that."""
        if time.monotonic() < self._next_look:
            return
        self._next_look = time.monotonic() + LOOK
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
            _run(
                lambda: work(self._jobs, self._engine, self._on_work),
                signal.SIGKILL,
                supervisor,
                [os.fdopen(self._heard)],
            )
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


def work(jobs: Jobs, engine: str, on_work: Callable[[], None]) -> None:
    """Be a Celery worker until SIGTERM, beside the requests and not before them. Exits as it did."""
    on_work()
    captioner.connect(engine)
    warnings.simplefilter("ignore", SecurityWarning)  # of root, who runs the server as well then
    jobs.queue.prepare()
    jobs.keeper.start()
    give_way()  # and no more: who is last of all, as the captioning thread is, must hold no lock of the database
    worker = jobs.queue.celery.Worker(
        pool="solo", quiet=True, without_gossip=True, without_mingle=True, without_heartbeat=True
    )
    worker.start()  # returns even after what it calls unrecoverable
    sys.exit(worker.exitcode)
