"""The engine process ends itself when its model stalls or all its threads hang."""

import subprocess
import sys

import pytest

STUCK = """
import os
from flaskapp.captioner.engine_server import watch
class Stuck:
    is_stuck, problem = True, None
watch(Stuck(), os.getppid())
"""
HANGING = """
import ctypes, os, threading
from flaskapp.captioner import engine_server
engine_server.HANG_TIMEOUT = engine_server.WATCH_INTERVAL = 0.2
watches = threading.Event()
class Fine:
    is_stuck = False
    @property
    def problem(self):
        watches.set()
threading.Thread(target=engine_server.watch, args=[Fine(), os.getppid()], daemon=True).start()
watches.wait()
ctypes.PyDLL(None).sleep(60)  # with Python's lock
"""


@pytest.mark.parametrize("program", [STUCK, HANGING])
def test_a_stalled_process_ends_with_a_stack_trace(program: str) -> None:
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=False)
    assert run.returncode == 1
    assert "most recent call first" in run.stderr
