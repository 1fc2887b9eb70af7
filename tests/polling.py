"""Waiting for states that no event announces."""

import socket
import subprocess
import threading
import time
from collections.abc import Callable

INTERVAL = 0.05  # seconds between two checks


def wait_until(condition: Callable[[], bool], seconds: float = 60) -> float:
    """Check a condition until it holds. Return the seconds it took."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < seconds, f"the condition did not hold within {seconds} seconds"
        threading.Event().wait(INTERVAL)
    return time.monotonic() - began


def wait_until_listening(process: subprocess.Popen[bytes], port: int, seconds: float = 60) -> None:
    """Wait until a server listens at a port of 127.0.0.1."""

    def is_listening() -> bool:
        assert process.poll() is None, f"the server ended with exit code {process.returncode}"
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    wait_until(is_listening, seconds)
