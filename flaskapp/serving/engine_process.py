"""gunicorn's master and its engine process. `flaskapp.serving.engine_host`, which runs between them, keeps it alive."""

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
from flaskapp.captioner.remote_engine import STATUS_MAX_AGE, RemoteEngine
from flaskapp.captioner.service import WARMING_UP
from flaskapp.child_environment import child_environment
from flaskapp.serving import leftovers
from flaskapp.serving.privileges import Identity

log = logging.getLogger(__name__)

HOST = (sys.executable, "-m", "flaskapp.serving.engine_host")
PATIENCE = 40.0  # seconds for the engine's end: more than its host gives it
TICK = 0.2  # seconds between two looks
LONGEST_PAUSE = 30.0  # seconds before the next host; doubled each time that one dies


class EngineProcess:
    """Started by the master before it forks the web workers, which find it at `address`, a Unix socket.

    It lives as long as the master or one of those workers does: they have the other end of its lifeline.
    `device` is where its model runs, as CAPTIONER_DEVICE has it. `arguments` are those of `metrics.share`. `identity`
    is the workers', which the engine takes as well.
    `on_bad_setting` is called, in a thread, when the engine cannot use a setting.
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
        """Start another host where one died. gunicorn takes exit statuses: what the host has to say comes this way."""
        pause = TICK
        while not self._is_over.is_set():
            if select.select([self._lifeline], [], [], TICK)[0]:
                self._has_bad_setting = True
                self._on_bad_setting()
                return
            if self._host.poll() is not None and not self._is_over.wait(pause):
                pause = min(2 * pause, LONGEST_PAUSE)
                log.error("The host of the engine process died; another one starts")
                try:
                    self._start_host()
                except OSError as error:
                    log.error("No host of an engine process can be started: %s", error)

    def wait_until_loaded(self, seconds: float) -> bool:
        """Wait, for a limited time, until the model is loaded or cannot be. Whether it is loaded."""
        until = time.monotonic() + seconds
        while (problem := self.problem) in (LOADING, WARMING_UP) and time.monotonic() < until:
            if self._has_bad_setting:
                break
            time.sleep(STATUS_MAX_AGE)
        return problem is None

    @property
    def problem(self) -> str | None:
        """As `Captioner.problem`."""
        return RemoteEngine(self.address).status.problem

    def release(self) -> None:
        """Let it end with the last of the workers that have been forked."""
        self._is_over.set()
        self._listener.close()
        self._watcher.join()
        for end in (self._lifeline, self._hosts_end):
            end.close()
        leftovers.leave(self._folder)

    def end(self) -> None:
        """Let it end now."""
        self._is_over.set()
        self._listener.close()
        with suppress(OSError):
            self._lifeline.shutdown(socket.SHUT_WR)  # also for other processes that hold this end

    def stop(self) -> None:
        """Stop it, and wait for its end."""
        self.end()
        until = time.monotonic() + PATIENCE
        while self._host.poll() is None and time.monotonic() < until:
            time.sleep(TICK)
