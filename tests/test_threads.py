import subprocess
import sys
import threading

import pytest

from flaskapp.threads import Threads
from tests.conftest import ROOT

UNDER_GEVENT = """
from gevent import monkey; monkey.patch_all()
import threading, time, gevent
from gevent.monkey import get_original
from flaskapp.threads import Threads

threads, sleep = Threads(2), get_original("time", "sleep")
waiting = gevent.spawn(threads.run, lambda: sleep(0.5) or "done")
turns = 0
while not waiting.ready():
    gevent.sleep(0.01)
    turns += 1
assert waiting.get() == "done"
assert turns > 5, turns
assert list(threads.each(iter(range(5)))) == [0, 1, 2, 3, 4]
try:
    threads.run(lambda: 1 / 0)
except ZeroDivisionError:
    print("raised")
"""


def test_without_gevent_work_runs_in_the_calling_thread() -> None:
    threads = Threads(1)
    assert threads.run(threading.get_ident) == threading.get_ident()
    assert list(threads.each("abc")) == ["a", "b", "c"]
    with pytest.raises(ZeroDivisionError):
        threads.run(lambda: 1 // 0)


def test_under_gevent_other_greenlets_continue_and_errors_are_raised_without_a_log() -> None:
    ended = subprocess.run([sys.executable, "-c", UNDER_GEVENT], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "raised\n", "")
