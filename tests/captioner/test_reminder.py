import logging
import os
import subprocess
import sys
import threading

import pytest

from flaskapp.captioner.reminder import INTERVAL, Reminder

THREE_PROCESSES = """
import logging, os, sys
from flaskapp.captioner.reminder import Reminder
logging.basicConfig(format="%(process)d %(message)s", stream=sys.stdout)
reminder = Reminder(interval=0.05)
reminder.share_with_forks()
for _ in range(3):
    if os.fork() == 0:
        reminder.start("still the substitute")
        sys.stdin.read()
        os._exit(0)
sys.stdin.read()
"""


def test_a_warning_is_repeated_until_it_is_stopped(caplog: pytest.LogCaptureFixture) -> None:
    heard = threading.Semaphore(0)
    handler = logging.Handler()
    handler.emit = lambda record: heard.release()  # type: ignore[method-assign]
    logging.getLogger("flaskapp.captioner.reminder").addHandler(handler)
    reminder = Reminder(interval=0.01)
    try:
        reminder.start("the substitute serves")
        reminder.start("a second thread")
        assert all(heard.acquire(timeout=10) for _ in range(3))
        reminder.stop()
    finally:
        logging.getLogger("flaskapp.captioner.reminder").removeHandler(handler)
    assert {record.getMessage() for record in caplog.records} == {"the substitute serves"}
    assert caplog.records[0].levelno == logging.WARNING


def test_it_is_repeated_every_hour() -> None:
    assert INTERVAL == 3600


def test_one_process_of_a_server_repeats_it_and_another_when_that_one_dies() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", THREE_PROCESSES], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdin is not None
        assert parent.stdout is not None
        lines = [parent.stdout.readline().split() for _ in range(10)]
        assert {tuple(line[1:]) for line in lines} == {("still", "the", "substitute")}
        (first,) = {int(line[0]) for line in lines}
        os.kill(first, 9)
        others = (int(line.split()[0]) for line in parent.stdout)
        second = next(pid for pid in others if pid != first)
        assert {next(others) for _ in range(5)} == {second}
        parent.stdin.close()
