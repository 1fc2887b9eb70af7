"""The engine process as gunicorn's master sees it. `flaskapp.serving.engine_host` runs between them."""

import logging
import os
import select
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

from flaskapp.captioner.loader import LOADING
from flaskapp.captioner.remote_engine import STATUS_MAX_AGE, STOPPED, RemoteEngine
from flaskapp.captioner.service import WARMING_UP
from flaskapp.child_environment import child_environment
from flaskapp.serving import leftovers
from flaskapp.serving.privileges import Identity

log = logging.getLogger(__name__)

HOST = (sys.executable, "-m", "flaskapp.serving.engine_host")
STOP_TIMEOUT = 40.0  # seconds; longer than the host's
POLL_INTERVAL = 0.2  # seconds
MAX_BACKOFF = 30.0  # seconds before the next host starts; doubled each time


class EngineProcess:
    """An engine process, started before the master forks the web workers. They connect to `address`, a Unix socket.

    The engine lives as long as the master or one of these workers, which hold the other end of its lifeline.
    `device` is one of CAPTIONER_DEVICE. `arguments` are those of `metrics.share`. `identity` is the user of the web
    workers, and of the engine. If the engine cannot use a setting, a thread calls `on_bad_setting`.
    """

    def __init__(
        self, device: str, arguments: Sequence[str], identity: Identity, on_bad_setting: Callable[[], None]
    ) -> None:
        self._arguments = [*arguments, str(identity), device]
        self._on_bad_setting = on_bad_setting
        self._is_over = threading.Event()  # stopped or released
        self._has_bad_setting = False
        self._folder = leftovers.make_folder("flaskapp-engine")
        self.address = str(self._folder / "socket")
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(self.address)
        self._listener.listen(socket.SOMAXCONN)
        if os.geteuid() == 0:
            for path in (self._folder, self.address):
                os.chown(path, identity.user, identity.group)
        self._lifeline, self._hosts_end = socket.socketpair()
        self._start_host()
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        self._watcher.start()

    def _start_host(self) -> None:
        self._host = subprocess.Popen(
            [*HOST, str(self._hosts_end.fileno()), str(self._folder), *self._arguments],
            stdin=self._listener.fileno(),
            pass_fds=[self._hosts_end.fileno()],
            start_new_session=True,  # a terminal's Ctrl-C is for the master
            env=child_environment(),
        )

    def _watch(self) -> None:
        """Restart the host when it dies, and receive its message of a bad setting.

        The exit status cannot carry that message, because gunicorn's master reaps all child processes.
        """
        backoff = POLL_INTERVAL
        while not self._is_over.is_set():
            if select.select([self._lifeline], [], [], POLL_INTERVAL)[0]:
                self._has_bad_setting = True
                self._on_bad_setting()
                return
            if self._host.poll() is not None and not self._is_over.wait(backoff):
                backoff = min(2 * backoff, MAX_BACKOFF)
                log.error("The host of the engine process died; the next one starts")
                try:
                    self._start_host()
                except OSError as error:
                    log.error("The host of the engine process cannot be started: %s", error)

    def wait_until_loaded(self, seconds: float) -> bool:
        """Wait until the model is loaded or cannot be loaded. Returns whether it is loaded, False after `seconds`."""
        until = time.monotonic() + seconds
        while (problem := self.problem) in (LOADING, WARMING_UP, STOPPED) and time.monotonic() < until:
            if self._has_bad_setting:
                break
            time.sleep(STATUS_MAX_AGE)
        return problem is None

    @property
    def problem(self) -> str | None:
        """See `Captioner.problem`."""
        return RemoteEngine(self.address).status.problem

    def release(self) -> None:
        """Let the engine end with the last worker that has been forked so far."""
        self._is_over.set()
        self._listener.close()
        self._watcher.join()
        for end in (self._lifeline, self._hosts_end):
            end.close()
        leftovers.leave(self._folder)

    def end(self) -> None:
        """Tell the host to stop the engine now."""
        self._is_over.set()
        self._listener.close()
        with suppress(OSError):
            self._lifeline.shutdown(socket.SHUT_WR)  # closes this end in all processes that hold it

    def stop(self) -> None:
        """Stop the engine, and wait for the end of its host."""
        self.end()
        until = time.monotonic() + STOP_TIMEOUT
        while self._host.poll() is None and time.monotonic() < until:
            time.sleep(POLL_INTERVAL)
