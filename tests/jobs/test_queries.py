"""Queries of jobs, in SQLite and PostgreSQL."""

from flaskapp.database import Database
from flaskapp.jobs.claims import ChunkId, Outcome
from flaskapp.jobs.ledger import Ledger
from flaskapp.jobs.status import Counts
from flaskapp.jobs.tables import DONE, QUEUED
from flaskapp.jobs.webhooks import RETRY_DELAYS, Webhooks
from tests.jobs.ledgers import database
from tests.postgresql import database_url, postgresql
from tests.test_trace_context import TRACEPARENT

__all__ = ["database", "database_url", "postgresql"]  # fixtures


def make_job(
    ledger: Ledger, owner: str, client: str, webhook: str | None = None, traceparent: str | None = None
) -> str:
    job = ledger.open(owner, None, "fingerprint", {}, 2, client=client, webhook=webhook, traceparent=traceparent)
    ledger.accept(job.id, ["0.png", "1.png"], 2)
    return job.id


def finish(ledger: Ledger, job_id: str) -> None:
    claim = ledger.claim(ChunkId(job_id, 0))
    assert claim is not None
    ledger.save(claim, {0: Outcome(captions=["a star"]), 1: Outcome(error="broken")})


def test_a_client_s_jobs_are_found_newest_first_with_their_counts(database: Database) -> None:
    ledger = Ledger(database)
    ada = [make_job(ledger, "ada", "ada") for _ in range(3)]
    for owner, client in (("bob", "bob"), ("", "192.0.2.1"), ("", "ada")):
        make_job(ledger, owner, client)
    finish(ledger, ada[0])
    receiving = ledger.open("ada", None, "fingerprint", {}, 2, client="ada").id
    found, total = ledger.page("ada", "ada", 0, 10)
    assert [job.id for job, _ in found] == [receiving, *ada[::-1]]
    assert total == 4
    assert [(job.state, counts) for job, counts in found[-2:]] == [(QUEUED, Counts(0, 0)), (DONE, Counts(1, 1))]
    assert [job.id for job, _ in ledger.page("ada", "ada", 2, 1)[0]] == [ada[1]]
    assert ledger.page("ada", "ada", 4, 10) == ([], 4)
    assert ledger.page("eve", "eve", 0, 10) == ([], 0)


def test_a_webhook_is_claimed_once_for_each_attempt_after_its_job_ended(database: Database) -> None:
    ledger, sender = Ledger(database), Webhooks(database, ["hooks.example.com"], "secret")
    without, with_one = make_job(ledger, "", ""), make_job(ledger, "", "", "https://hooks.example.com/")
    assert sender._claim() is None
    for job_id in (without, with_one):
        finish(ledger, job_id)
    assert ledger.has_work()
    claimed = sender._claim()
    assert claimed is not None
    job, status, is_last = claimed
    assert (job.webhook, status.id, status.state, is_last) == ("https://hooks.example.com/", with_one, DONE, False)
    assert sender._claim() is None, "the next attempt is later"
    assert min(RETRY_DELAYS) > 2 * 10, "longer than two timeouts, so that attempts do not overlap"
    sender._settle(with_one)
    assert not ledger.has_work()


def test_a_job_keeps_the_trace_of_its_request_for_workers_and_its_webhook(database: Database) -> None:
    ledger, sender = Ledger(database), Webhooks(database, ["hooks.example.com"], "secret")
    job_id = make_job(ledger, "", "", "https://hooks.example.com/", TRACEPARENT)
    claim = ledger.claim(ChunkId(job_id, 0))
    assert claim is not None
    assert claim.traceparent == TRACEPARENT
    ledger.save(claim, dict.fromkeys(range(2), Outcome(captions=["a star"])))
    claimed = sender._claim()
    assert claimed is not None
    assert claimed[0].traceparent == TRACEPARENT
