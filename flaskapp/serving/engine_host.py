"""Keeps a server's engine process running. `flaskapp.serving.engine_process` starts it beside gunicorn's master.

Standard input is the listening Unix socket, which the engine inherits: requests that come while a new engine is being
started wait there. The lifeline is a socket whose other end the master and its web workers have: once the last of them
has ended, however it did, the engine is stopped, and its socket removed.

gunicorn's dirty workers could be the engine's home. But they are stopped at the same time as the web workers, whose
last requests would find no engine, and a second server on the machine ends those of the first
(`Arbiter._cleanup_orphaned_dirty_arbiter` in gunicorn 27.0.1).
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

log = logging.getLogger(__name__)

COMMAND = (sys.executable, "-m", "flaskapp.captioner.engine_server")
BAD_SETTING = 78  # exit status of an engine that would end the same way again
SHORTEST_PAUSE, LONGEST_PAUSE = 0.5, 30.0  # seconds before the next engine; doubled each time that one ends soon
LONG = 60.0  # seconds of life after which an end is taken for an accident
PATIENCE = 30.0  # seconds that an engine may take for its last batch
TICK = 0.2  # seconds between two looks


def main() -> None:
    """`python -m flaskapp.serving.engine_host LIFELINE FOLDER ARGUMENT…`.

    The lifeline's descriptor, the socket's folder, and the engine's arguments.
    """
    descriptor, folder, *arguments = sys.argv[1:]
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # also the engine's: systemd sends it to all, while workers still ask
    with socket.socket(fileno=int(descriptor)) as lifeline:
        if keep([*COMMAND, str(os.getpid()), *arguments], lifeline) == BAD_SETTING:
            lifeline.sendall(b"!")
        shutil.rmtree(folder, ignore_errors=True)


def keep(command: list[str], lifeline: socket.socket) -> int | None:
    """Run one engine after the other until the other end of the lifeline is closed.

    Returns BAD_SETTING if another start would fail in the same way, else None.
    """
    pause = SHORTEST_PAUSE
    while True:
        began = time.monotonic()
        try:
            engine = subprocess.Popen(command)
        except OSError as error:
            log.error("No engine process can be started: %s", error)
            status: int | None = 1
        else:
            try:
                status = _wait(engine, lifeline)
            finally:
                _stop(engine)
        if status is None or status == BAD_SETTING:
            return status
        log.error("The engine process ended (%s); the next one starts in %g seconds", _how(status), pause)
        if _has_ended(lifeline, pause):
            return None
        pause = SHORTEST_PAUSE if time.monotonic() - began > LONG else min(2 * pause, LONGEST_PAUSE)


def _wait(engine: subprocess.Popen[bytes], lifeline: socket.socket) -> int | None:
    """The exit status of an engine that ended by itself. None: the server has ended."""
    while (status := engine.poll()) is None:
        if _has_ended(lifeline, TICK):
            return None
    return status


def _has_ended(lifeline: socket.socket, seconds: float) -> bool:
    """Whether the other end of the lifeline is closed, now or within so many seconds."""
    ready, _, _ = select.select([lifeline], [], [], seconds)
    return bool(ready)


def _stop(engine: subprocess.Popen[bytes]) -> None:
    if engine.poll() is None:
        engine.send_signal(signal.SIGUSR1)
        try:
            engine.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            engine.kill()
            engine.wait()


def _how(status: int) -> str:
    return f"by {signal.Signals(-status).name}" if status < 0 else f"with exit status {status}"


if __name__ == "__main__":
    main()
