"""The engine host: a process that restarts a server's engine process. `flaskapp.serving.engine_process` starts it.

Standard input is the listening Unix socket, which the engine inherits. Requests wait in its backlog while an engine
starts. After a second engine in a row has ended, the host closes their connections until it starts the next one. The
lifeline is a socket whose other end the master and its web workers hold. When the last of them has ended, even by a
signal, the host stops the engine and removes the Unix socket.

gunicorn's dirty workers do not fit: they stop at the same time as the web workers, so the last requests would have no
engine, and a second server on the machine stops those of the first (`Arbiter._cleanup_orphaned_dirty_arbiter` in
gunicorn 27.0.1).
"""

import logging
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress

from flaskapp.child_environment import child_environment
from flaskapp.machine import with_fast_malloc

log = logging.getLogger(__name__)

COMMAND = (sys.executable, "-m", "flaskapp.captioner.engine_server")
BAD_SETTING = 78  # exit status of an engine for which a restart does not help
MIN_BACKOFF, MAX_BACKOFF = 0.5, 30.0  # seconds before the next engine starts; doubled each time
STABLE_AFTER = 60.0  # seconds of an engine's life that reset the back-off
STOP_TIMEOUT = 30.0  # seconds for an engine to finish its last batch
POLL_INTERVAL = 0.2  # seconds


def main() -> None:
    """`python -m flaskapp.serving.engine_host LIFELINE FOLDER ARGUMENT…`.

    LIFELINE is a file descriptor, FOLDER contains the Unix socket, and the ARGUMENTs are the engine's.
    """
    descriptor, folder, *arguments = sys.argv[1:]
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    # The engine inherits this. systemd signals all processes, while web workers still need the engine.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    with socket.socket(fileno=int(descriptor)) as lifeline, socket.socket(fileno=sys.stdin.fileno()) as listener:
        if keep([*COMMAND, str(os.getpid()), *arguments], lifeline, listener) == BAD_SETTING:
            lifeline.sendall(b"!")
        shutil.rmtree(folder, ignore_errors=True)


def keep(command: list[str], lifeline: socket.socket, listener: socket.socket) -> int | None:
    """Restart the engine whenever it ends, until the other end of the lifeline is closed.

    Returns BAD_SETTING if a restart does not help, else None.
    """
    backoff = MIN_BACKOFF
    while True:
        started_at = time.monotonic()
        try:
            engine = subprocess.Popen(command, env=with_fast_malloc(child_environment()))
        except OSError as error:
            log.error("The engine process cannot be started: %s", error)
            status: int | None = 1
        else:
            try:
                status = _wait(engine, lifeline)
            finally:
                _stop(engine)
        if status is None or status == BAD_SETTING:
            return status
        if time.monotonic() - started_at > STABLE_AFTER:
            backoff = MIN_BACKOFF
        log.error("The engine process ended (%s); the next one starts in %g seconds", _cause(status), backoff)
        has_ended = _has_ended(lifeline, backoff) if backoff == MIN_BACKOFF else _refuse(listener, lifeline, backoff)
        if has_ended:
            return None
        backoff = min(2 * backoff, MAX_BACKOFF)


def _wait(engine: subprocess.Popen[bytes], lifeline: socket.socket) -> int | None:
    """Wait for the engine's end, and return its exit status; None if the server ended first."""
    while (status := engine.poll()) is None:
        if _has_ended(lifeline, POLL_INTERVAL):
            return None
    return status


def _has_ended(lifeline: socket.socket, seconds: float) -> bool:
    """Wait up to `seconds`, and return whether the other end of the lifeline is closed."""
    ready, _, _ = select.select([lifeline], [], [], seconds)
    return bool(ready)


def _refuse(listener: socket.socket, lifeline: socket.socket, seconds: float) -> bool:
    """Close the web workers' connections for some seconds, so that their requests fail at once, not after a time-out.

    Return whether the other end of the lifeline is closed.
    """
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        ready, _, _ = select.select([lifeline, listener], [], [], left)
        if lifeline in ready:
            return True
        if listener in ready:
            with suppress(OSError):
                listener.accept()[0].close()
    return False


def _stop(engine: subprocess.Popen[bytes]) -> None:
    if engine.poll() is None:
        engine.send_signal(signal.SIGUSR1)
        try:
            engine.wait(STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            engine.kill()
            engine.wait()


def _cause(status: int) -> str:
    return f"by {signal.Signals(-status).name}" if status < 0 else f"with exit status {status}"


if __name__ == "__main__":
    main()
