"""Fixtures: ledgers in SQLite and PostgreSQL. Helpers that create and claim jobs."""

from collections.abc import Iterator

import pytest

from flaskapp.database import Database
from flaskapp.jobs.claims import ChunkId, Claim, Outcome
from flaskapp.jobs.ledger import Ledger

CAPTIONS = Outcome(captions=["a star"])


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    database = Database(database_url)
    yield database
    database.close()


@pytest.fixture
def ledger(database: Database) -> Ledger:
    return Ledger(database)


def make_job(ledger: Ledger, images: int = 3, chunk_size: int = 2, client: str = "") -> str:
    job = ledger.open("", None, "fingerprint", {"num_beams": 1}, images, client=client)
    ledger.accept(job.id, [f"{number}.png" for number in range(images)], chunk_size)
    return job.id


def claimed(ledger: Ledger, job_id: str, chunk: int = 0) -> Claim:
    claim = ledger.claim(ChunkId(job_id, chunk))
    assert claim is not None
    return claim


def state(ledger: Ledger, job_id: str) -> tuple[str, int, int]:
    found = ledger.find(job_id, "")
    assert found is not None
    job, counts = found
    return job.state, counts.done, counts.failed
