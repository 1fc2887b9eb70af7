"""The backlog of caption jobs in `/metrics`."""

import threading
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import update

from flaskapp import readiness
from flaskapp.database import Database
from flaskapp.errors import DatabaseUnavailable
from flaskapp.jobs.backlog import Backlog, BacklogMonitor
from flaskapp.jobs.claims import ChunkId, Outcome
from flaskapp.jobs.ledger import Ledger
from flaskapp.jobs.tables import Job
from tests.jobs.ledgers import database, make_job
from tests.postgresql import database_url, postgresql

__all__ = ["database", "database_url", "postgresql"]  # fixtures


def served(app: Flask) -> dict[str, float]:
    text = app.test_client().get("/metrics").text
    return {
        sample.name.removeprefix("flaskapp_jobs_"): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name.startswith("flaskapp_jobs_")
    }


def test_unfinished_chunks_of_active_jobs_count(database: Database) -> None:
    ledger = Ledger(database)
    assert ledger.backlog() == Backlog(0, 0, 0.0)
    first, second = make_job(ledger, 3), make_job(ledger, 4)
    ledger.open("", None, "fingerprint", {}, 9)  # still being uploaded
    assert ledger.backlog()[:2] == (2, 4)
    claim = ledger.claim(ChunkId(first, 0))
    assert claim is not None
    assert ledger.backlog()[:2] == (2, 4), "a claimed chunk is not done"
    assert ledger.save(claim, {0: Outcome(captions=["a star"]), 1: Outcome(error="broken")})
    assert ledger.backlog()[:2] == (2, 3)
    ledger.cancel(second)
    assert ledger.backlog()[:2] == (1, 1)


def test_the_age_is_the_oldest_unfinished_job_s(database: Database) -> None:
    ledger = Ledger(database)
    old, _ = make_job(ledger, 1), make_job(ledger, 1)
    with database.session() as session:
        session.execute(update(Job).where(Job.id == old).values(created_at=Job.created_at - 100))
    assert 100 <= ledger.backlog().oldest_age < 130
    ledger.cancel(old)
    assert 0 <= ledger.backlog().oldest_age < 30


def test_the_metrics_show_the_backlog(make_app: Callable[..., Flask]) -> None:
    app = make_app()
    make_job(app.extensions["jobs"].ledger, 3)
    shown = served(app)
    assert 0 <= shown.pop("oldest_age_seconds") < 30
    assert shown == {"active": 1, "open_chunks": 2}


def test_without_a_database_the_metrics_leave_the_backlog_out(make_app: Callable[..., Flask]) -> None:
    app = make_app(DATABASE_URL="sqlite:////dev/null/no/database")
    assert served(app) == {}
    assert app.test_client().get("/metrics").status_code == 200


def test_a_hanging_database_does_not_delay_the_metrics() -> None:
    may_answer = threading.Event()

    def measure() -> Backlog:
        assert may_answer.wait(30)
        return Backlog(1, 1, 1.0)

    monitor = BacklogMonitor(measure)
    assert monitor.latest() is None, "before the database answers"
    may_answer.set()


def test_the_database_is_queried_at_most_once_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def measure() -> Backlog:
        asked.append(None)
        if len(asked) > 1:
            raise DatabaseUnavailable("gone")
        return Backlog(1, 2, 3.0)

    monitor = BacklogMonitor(measure)
    assert [monitor.latest() for _ in range(20)] == [Backlog(1, 2, 3.0)] * 20
    assert len(asked) == 1
    monkeypatch.setattr(readiness, "MAX_AGE", 0.0)
    assert monitor.latest() is None, "an old value is not shown while the database is unavailable"
