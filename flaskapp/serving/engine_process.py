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

from flaskapp.captioner.engine_client import FRESH, EngineClient
from flaskapp.captioner.loader import LOADING
from flaskapp.captioner.service import WARMING_UP
from flaskapp.serving import leftovers

log = logging.getLogger(__name__)

HOST = (sys.executable, "-m", "flaskapp.serving.engine_host")
PATIENCE = 40.0  # seconds for the engine's end: more than its host gives it
TICK = 0.2  # seconds between two looks


class EngineProcess:
    """Started by the master before it forks the web workers, which find it at `address`, a Unix socket.

    It lives as long as the master or one of those workers does: they have the other end of its lifeline.
    `arguments` are those of `metrics.share`, `user` and `group` the workers' ids, which the engine takes as well.
    `on_bad_setting` is called, in a thread, when the engine cannot use a setting.
    """

    def __init__(self, arguments: Sequence[str], user: int, group: int, on_bad_setting: Callable[[], None]) -> None:
        self._arguments = [*arguments, str(user), str(group)]
        self._on_bad_setting = on_bad_setting
        self._is_released = self._is_stopping = False
        self._folder = leftovers.make_folder("flaskapp-engine")
        self.address = str(self._folder / "socket")
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(self.address)
        self._listener.listen(socket.SOMAXCONN)
        if os.geteuid() == 0:
            for path in (self._folder, self.address):
                os.chown(path, user, group)
        self._start()

    def _start(self) -> None:
        self._lifeline, other_end = socket.socketpair()
        with other_end:
            subprocess.Popen(
                [*HOST, str(self._folder), *self._arguments],
                stdin=self._listener.fileno(),
                stdout=other_end.fileno(),
                start_new_session=True,  # a terminal's Ctrl-C is for the master
                env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
            )
        self._watcher = threading.Thread(target=self._watch, args=[self._lifeline], daemon=True)
        self._watcher.start()

    def _watch(self, lifeline: socket.socket) -> None:
        """Start another host where one died. gunicorn takes exit statuses: what the host has to say comes this way."""
        with lifeline:
            while not select.select([lifeline], [], [], TICK)[0]:
                if self._is_released:
                    return
            said = lifeline.recv(1)
        if said:
            self._on_bad_setting()
        elif not self._is_stopping:
            log.error("The host of the engine process died; another one starts")
            self._start()

    def wait_until_loaded(self, seconds: float) -> None:
        """Wait until there is a model, or it is known that there will be none, but not for ever."""
        client, until = EngineClient(self.address, seconds), time.monotonic() + seconds
        while client.problem in (LOADING, WARMING_UP) and time.monotonic() < until:
            time.sleep(FRESH)

    def release(self) -> None:
        """Let it end with the last of the workers that have been forked."""
        self._is_released = True
        self._listener.close()
        self._watcher.join()
        leftovers.leave(self._folder)

    def stop(self) -> None:
        """Stop it, and wait for its end."""
        self._is_stopping = True
        self._listener.close()
        with suppress(OSError):
            self._lifeline.shutdown(socket.SHUT_WR)  # whoever else has this end
        self._watcher.join(PATIENCE)
