import logging
import threading

import pytest

from flaskapp.captioner.loader import REMINDER_INTERVAL, Reminder


def test_a_warning_is_repeated_until_it_is_stopped(caplog: pytest.LogCaptureFixture) -> None:
    heard = threading.Semaphore(0)
    handler = logging.Handler()
    handler.emit = lambda record: heard.release()  # type: ignore[method-assign]
    logging.getLogger("flaskapp.captioner.loader").addHandler(handler)
    reminder = Reminder(interval=0.01)
    try:
        reminder.start("the substitute serves")
        reminder.start("a second thread")
        assert all(heard.acquire(timeout=10) for _ in range(3))
        reminder.stop()
    finally:
        logging.getLogger("flaskapp.captioner.loader").removeHandler(handler)
    assert {record.getMessage() for record in caplog.records} == {"the substitute serves"}
    assert caplog.records[0].levelno == logging.WARNING


def test_the_warning_is_repeated_every_hour() -> None:
    assert REMINDER_INTERVAL == 3600
