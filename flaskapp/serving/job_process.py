"""Runs the job supervisor, `flaskapp.jobs.embedded`, which captions jobs if there is no broker."""

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
STOP_TIMEOUT = 8.0  # seconds; longer than the supervisor's for its worker
POLL_INTERVAL = 0.05  # seconds


class JobProcess:
    """The job supervisor. Web workers call `notify`, the master calls the other methods.

    `engines` are Unix sockets of engine processes, `arguments` are those of `metrics.share`, and `identity` is the user
    of the web workers.
    """

    def __init__(self, engines: Sequence[str], arguments: Sequence[str], identity: Identity) -> None:
        self._command = [*COMMAND, str(os.getpid()), os.pathsep.join(engines), *arguments, str(identity)]
        # The master keeps both ends, so that notifications outlive a supervisor.
        self._read_end, self._write_end = os.pipe()
        for end in (self._read_end, self._write_end):
            os.set_blocking(end, False)
        self._start()

    def _start(self) -> None:
        self._process = subprocess.Popen(
            self._command,
            stdin=self._read_end,
            start_new_session=True,  # a terminal's Ctrl-C is for the master
            env=child_environment(),
        )

    def keep(self) -> None:
        """Restart the supervisor if it died. If that fails, the next call tries again."""
        if self._process.poll() is not None:
            log.error("The supervisor of caption jobs died; the next one starts")
            self._try_to_start()

    def _try_to_start(self) -> None:
        """Start the supervisor. Log errors, which would end gunicorn's master."""
        try:
            self._start()
        except OSError as error:
            log.error("The supervisor of caption jobs cannot be started: %s", error)

    def restart(self, engines: Sequence[str]) -> None:
        """Replace the supervisor by one with the current code and other engines, which reads the same pipe."""
        self._end()
        self._command[len(COMMAND) + 1] = os.pathsep.join(engines)
        self._try_to_start()

    def notify(self, on_loss: Callable[[], None]) -> None:
        """Notify the supervisor of a job. Calls `on_loss` if it ended; the master restarts it with the next worker."""
        with suppress(BlockingIOError):  # the pipe is full of notifications
            os.write(self._write_end, b"!")
        try:
            os.kill(self._process.pid, 0)
        except ProcessLookupError:
            # Not an error: at a reload, the master has replaced the supervisor. If it died, the master logs that.
            log.warning("The supervisor of caption jobs has ended: this web worker is replaced")
            on_loss()
        except PermissionError:  # it runs as another user
            pass

    def stop(self) -> None:
        """Stop the supervisor and its worker. Kill them after a time-out."""
        self._end()
        for end in (self._read_end, self._write_end):
            os.close(end)

    def _end(self) -> None:
        with suppress(ProcessLookupError):
            self._process.terminate()
        until = time.monotonic() + STOP_TIMEOUT
        while self._process.poll() is None and time.monotonic() < until:
            time.sleep(POLL_INTERVAL)
        self._process.kill()  # the kernel kills its worker, too
        self._process.wait()
