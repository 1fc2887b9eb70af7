"""A check that may hang. Events are waited for here; the one second of patience is made short."""

import threading

import pytest

from flaskapp import readiness
from flaskapp.errors import DatabaseUnavailable
from flaskapp.readiness import RecentCheck

SILENT = "it does not answer"


class Database:
    """Counts how often it is asked, and answers when it may."""

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


def test_what_is_well_has_no_problem_and_what_is_not_says_why() -> None:
    assert RecentCheck(Database().check, SILENT).problem() is None
    broken = Database()
    broken.is_down = True
    assert RecentCheck(broken.check, SILENT).problem() == "it is down"


def test_those_who_ask_soon_after_one_another_share_an_answer() -> None:
    database = Database()
    check = RecentCheck(database.check, SILENT)
    assert {check.problem() for _ in range(100)} == {None}
    assert database.asked <= 2, "the hundred may take a second"


def test_an_answer_that_is_too_old_is_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readiness, "FRESH", 0.0)
    database = Database()
    check = RecentCheck(database.check, SILENT)
    assert check.problem() is None
    database.is_down = True
    assert check.problem() == "it is down"


def test_a_check_that_hangs_keeps_nobody_and_is_not_begun_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readiness, "FRESH", 0.0)
    monkeypatch.setattr(readiness, "PATIENCE", 0.05)
    database = Database()
    database.may_answer.clear()
    check = RecentCheck(database.check, SILENT)
    assert [check.problem() for _ in range(10)] == [SILENT] * 10
    assert database.asked == 1
    database.may_answer.set()
    assert database.has_answered.wait(30)
    monkeypatch.setattr(readiness, "PATIENCE", 30.0)
    assert check.problem() is None


def test_a_check_that_fails_in_another_way_is_a_problem_that_the_log_explains(caplog: pytest.LogCaptureFixture) -> None:
    def check() -> None:
        raise KeyError("canary")

    problem = RecentCheck(check, SILENT).problem()
    assert problem == "it cannot be used: the log says why"
    assert "canary" in caplog.text


def test_when_no_thread_can_be_started_it_is_asked_again_later(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(readiness, "FRESH", 0)
    check = RecentCheck(Database().check, SILENT)
    with monkeypatch.context() as full:
        full.setattr(threading.Thread, "start", fail)
        assert check.problem() == SILENT
    assert check.problem() is None
