"""The cached health check with a timeout."""

import threading

import pytest

from flaskapp import readiness
from flaskapp.errors import DatabaseUnavailable
from flaskapp.readiness import RecentCheck

SILENT = "it does not answer"


class Database:
    """Counts its checks, which wait for an event."""

    def __init__(self) -> None:
        self.asked = 0
        self.is_down = False
        self.may_answer = threading.Event()
        self.may_answer.set()
        self.has_answered = threading.Event()

    def check(self) -> None:
        self.asked += 1
        self.may_answer.wait(30)
        self.has_answered.set()
        if self.is_down:
            raise DatabaseUnavailable("it is down")


def test_a_failed_check_has_a_problem_with_the_reason() -> None:
    assert RecentCheck(Database().check, SILENT).problem() is None
    broken = Database()
    broken.is_down = True
    assert RecentCheck(broken.check, SILENT).problem() == "it is down"


def test_calls_in_quick_succession_share_a_result() -> None:
    database = Database()
    check = RecentCheck(database.check, SILENT)
    assert {check.problem() for _ in range(100)} == {None}
    assert database.asked <= 2, "a hundred calls may take a second"


def test_an_old_result_is_refreshed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readiness, "MAX_AGE", 0.0)
    database = Database()
    check = RecentCheck(database.check, SILENT)
    assert check.problem() is None
    database.is_down = True
    assert check.problem() == "it is down"


def test_a_hanging_check_delays_no_caller_and_is_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readiness, "MAX_AGE", 0.0)
    monkeypatch.setattr(readiness, "TIMEOUT", 0.05)
    database = Database()
    database.may_answer.clear()
    check = RecentCheck(database.check, SILENT)
    assert [check.problem() for _ in range(10)] == [SILENT] * 10
    assert database.asked == 1
    database.may_answer.set()
    assert database.has_answered.wait(30)
    monkeypatch.setattr(readiness, "TIMEOUT", 30.0)
    assert check.problem() is None


def test_an_unknown_exception_is_a_problem_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    def check() -> None:
        raise KeyError("canary")

    problem = RecentCheck(check, SILENT).problem()
    assert problem == "it cannot be used: the log says why"
    assert "canary" in caplog.text


def test_if_no_thread_can_start_the_check_is_repeated_later(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(readiness, "MAX_AGE", 0)
    check = RecentCheck(Database().check, SILENT)
    with monkeypatch.context() as full:
        full.setattr(threading.Thread, "start", fail)
        assert check.problem() == SILENT
    assert check.problem() is None
