"""gunicorn's master and the process that captions jobs where there is no broker: `flaskapp.jobs.embedded`."""

import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

from flaskapp.child_environment import child_environment
from flaskapp.serving.privileges import Identity

log = logging.getLogger(__name__)

COMMAND = (sys.executable, "-m", "flaskapp.jobs.embedded")
PATIENCE = 8.0  # seconds for its end: more than it gives its worker
TICK = 0.05  # seconds between two looks


class JobProcess:
    """Started by the master. `keep` and `stop` are the master's, `ring` is a web worker's.

    `engines` are the Unix sockets of the processes that caption, `arguments` are those of `metrics.share`, `identity`
    is the web workers'.
    """

    def __init__(self, engines: Sequence[str], arguments: Sequence[str], identity: Identity) -> None:
        self._command = [*COMMAND, str(os.getpid()), os.pathsep.join(engines), *arguments, str(identity)]
        self._heard, self._bell = os.pipe()  # the master keeps both ends: the next process hears what the last did not
        for end in (self._heard, self._bell):
            os.set_blocking(end, False)
        self._start()

    def _start(self) -> None:
        self._process = subprocess.Popen(
            self._command,
            stdin=self._heard,
            start_new_session=True,  # a terminal's Ctrl-C is for the master
            env=child_environment(),
        )

    def keep(self) -> None:
        """Start another where it died. Where that fails, the next call tries again."""
        if self._process.poll() is not None:
            log.error("The supervisor of caption jobs died; another begins")
            self._try_to_start()

    def _try_to_start(self) -> None:
        """An error here would end gunicorn's master."""
        try:
            self._start()
        except OSError as error:
            log.error("No supervisor of caption jobs can be started: %s", error)

    def restart(self, engines: Sequence[str]) -> None:
        """Replace it by one with the code of now, which asks other engines. It reads the same pipe."""
        self._end()
        self._command[len(COMMAND) + 1] = os.pathsep.join(engines)
        self._try_to_start()

    def ring(self, on_loss: Callable[[], None]) -> None:
        """Tell it that there is a job. Calls `on_loss` if no process reads the pipe: the master should `keep` then."""
        with suppress(BlockingIOError):  # full: it has rung already
            os.write(self._bell, b"!")
        try:
            os.kill(self._process.pid, 0)
        except ProcessLookupError:
            log.error("The supervisor of caption jobs is gone: this web worker is replaced, and the supervisor with it")
            on_loss()
        except PermissionError:  # it is there, and another user's
            pass

    def stop(self) -> None:
        """Stop it and its worker, and wait for them for a limited time."""
        self._end()
        for end in (self._heard, self._bell):
            os.close(end)

    def _end(self) -> None:
        with suppress(ProcessLookupError):
            self._process.terminate()
        until = time.monotonic() + PATIENCE
        while self._process.poll() is None and time.monotonic() < until:
            time.sleep(TICK)
        self._process.kill()  # its worker goes with it
        self._process.wait()
