import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest
from sqlalchemy import func, select, update

from flaskapp.database import Database
from flaskapp.errors import KeyReused
from flaskapp.jobs import ledger as ledgers
from flaskapp.jobs.claims import ChunkId, Outcome
from flaskapp.jobs.ledger import Ledger
from flaskapp.jobs.tables import CANCELLED, DONE, EXPIRED, QUEUED, RUNNING, Chunk
from tests.jobs.ledgers import CAPTIONS, claimed, database, ledger, make_job, state
from tests.postgresql import PostgreSQL, database_url, postgresql

__all__ = ["database", "database_url", "ledger", "postgresql"]  # fixtures


def test_a_job_goes_from_queued_to_done_with_one_outcome_for_each_image(ledger: Ledger) -> None:
    job_id = make_job(ledger)
    assert state(ledger, job_id) == (QUEUED, 0, 0)
    first = claimed(ledger, job_id)
    assert (first.images, first.attempts, first.config) == ([0, 1], 1, {"num_beams": 1})
    assert ledger.save(first, {0: CAPTIONS, 1: Outcome(error="broken")})
    assert state(ledger, job_id) == (RUNNING, 1, 1)
    assert ledger.has_work()
    assert ledger.save(claimed(ledger, job_id, 1), {2: CAPTIONS})
    assert state(ledger, job_id) == (DONE, 2, 1)
    assert not ledger.has_work()
    rows = ledger.images(job_id, 0, 10)
    assert [(row.number, row.input, row.captions, row.error) for row in rows] == [
        (0, "0.png", ["a star"], None), (1, "1.png", None, "broken"), (2, "2.png", ["a star"], None)
    ]  # fmt: skip


def test_one_of_many_concurrent_workers_claims_a_chunk(ledger: Ledger) -> None:
    job_id = make_job(ledger)
    with ThreadPoolExecutor(8) as pool:
        claims = list(pool.map(lambda _: ledger.claim(ChunkId(job_id, 0)), range(8)))
    assert sum(claim is not None for claim in claims) == 1


def test_the_last_two_chunks_saved_concurrently_end_the_job(ledger: Ledger) -> None:
    job_id = make_job(ledger, images=8, chunk_size=1)
    claims = [claimed(ledger, job_id, number) for number in range(8)]
    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(lambda claim: ledger.save(claim, {claim.chunk.number: CAPTIONS}), claims))
    assert state(ledger, job_id) == (DONE, 8, 0)


def test_an_expired_claim_passes_to_another_worker_and_saves_nothing(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = make_job(ledger)
    monkeypatch.setattr(ledgers, "LEASE", -1.0)
    lost = claimed(ledger, job_id)
    monkeypatch.undo()
    kept = claimed(ledger, job_id)
    assert kept.attempts == 2
    assert not ledger.renew(lost)
    assert not ledger.save(lost, {0: Outcome(error="too late")})
    assert ledger.count_attempt(lost, 0) is None
    assert (ledger.count_attempt(kept, 0), ledger.count_attempt(kept, 0)) == (1, 2)
    ledger.refund_attempt(kept, 0)
    assert ledger.count_attempt(kept, 0) == 2
    assert ledger.renew(kept)
    assert ledger.save(kept, {0: CAPTIONS, 1: CAPTIONS})
    assert ledger.claim(ChunkId(job_id, 0)) is None
    assert state(ledger, job_id) == (RUNNING, 2, 0)


def test_images_saved_before_a_worker_died_are_not_captioned_again(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = make_job(ledger)
    monkeypatch.setattr(ledgers, "LEASE", -1.0)
    ledger.save(claimed(ledger, job_id), {0: CAPTIONS})
    assert claimed(ledger, job_id).images == [1]


def test_a_cancelled_job_saves_no_more_and_keeps_its_results(ledger: Ledger) -> None:
    job_id = make_job(ledger)
    claim = claimed(ledger, job_id)
    ledger.save(claim, {0: CAPTIONS})
    ledger.cancel(job_id)
    assert not ledger.renew(claim)
    assert not ledger.save(claim, {1: CAPTIONS})
    assert ledger.claim(ChunkId(job_id, 1)) is None
    ledger.cancel(job_id)
    ledger.finish()
    assert state(ledger, job_id) == (CANCELLED, 1, 0)


def test_a_done_job_is_not_cancelled(ledger: Ledger) -> None:
    job_id = make_job(ledger, images=1)
    ledger.save(claimed(ledger, job_id), {0: CAPTIONS})
    ledger.cancel(job_id)
    assert state(ledger, job_id) == (DONE, 1, 0)


def test_a_returned_chunk_waits_with_backoff_and_its_attempt_is_refunded(ledger: Ledger) -> None:
    job_id = make_job(ledger)
    ledger.release(claimed(ledger, job_id), is_attempt=False)
    assert ledger.claim(ChunkId(job_id, 0)) is None, "the delay is one second"
    assert ledger.lost_chunks(is_queue_empty=True) == []
    later = Ledger(ledger._database)
    with pytest.MonkeyPatch.context() as clock:
        now = time.time()
        clock.setattr(ledgers, "current_time", lambda _: now + 2)
        again = claimed(later, job_id)
        assert again.attempts == 1
        later.release(again, is_attempt=True)
        clock.setattr(ledgers, "current_time", lambda _: now + 3.5)
        assert later.claim(ChunkId(job_id, 0)) is None, "the delay has doubled"
        clock.setattr(ledgers, "current_time", lambda _: now + 5)
        assert claimed(later, job_id).attempts == 2


def test_a_message_counts_as_lost_with_an_empty_queue_or_after_later_ones(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = make_job(ledger, images=4, chunk_size=2)
    chunks = [ChunkId(job_id, 0), ChunkId(job_id, 1)]
    assert ledger.lost_chunks(is_queue_empty=True) == [], "messages may be in transit"
    monkeypatch.setattr(ledgers, "DELIVERY_TIME", -1.0)
    assert ledger.lost_chunks(is_queue_empty=False) == [], "the messages may wait in the queue"
    monkeypatch.setattr(ledgers, "REORDERING", -1.0)
    claimed(ledger, job_id, 1)
    assert ledger.lost_chunks(is_queue_empty=False) == chunks[:1], "chunk 1, sent later, has been claimed"
    assert ledger.lost_chunks(is_queue_empty=True) == chunks[:1]


@pytest.mark.postgresql
def test_one_worker_at_a_time_sweeps_and_the_others_do_not_wait(
    postgresql: PostgreSQL, monkeypatch: pytest.MonkeyPatch
) -> None:
    postgresql.empty()
    database = Database(postgresql.url)
    ledger = Ledger(database)
    monkeypatch.setattr(ledgers, "DELIVERY_TIME", -1.0)
    job_id = make_job(ledger, 1)
    with database.session() as another:
        another.execute(select(func.pg_advisory_xact_lock(ledgers.SWEEP_LOCK)))
        assert ledger.lost_chunks(is_queue_empty=True) == []
        ledger.finish()
    assert ledger.lost_chunks(is_queue_empty=True) == [(job_id, 0)]
    database.close()


@pytest.mark.postgresql
def test_concurrent_sweeps_cancellations_and_expiries_do_not_deadlock(
    postgresql: PostgreSQL, monkeypatch: pytest.MonkeyPatch
) -> None:
    postgresql.empty()
    database = Database(postgresql.url)
    ledger = Ledger(database)
    monkeypatch.setattr(ledgers, "DELIVERY_TIME", -1.0)
    job_id = make_job(ledger, images=3, chunk_size=1)
    first = select(Chunk).where(Chunk.job_id == job_id, Chunk.number == 0).with_for_update()
    with database.session() as another:
        another.execute(first)
        assert ledger.lost_chunks(is_queue_empty=True) == [(job_id, 1), (job_id, 2)], "locked rows are skipped"
    jobs = [make_job(ledger, images=200, chunk_size=1) for _ in range(3)]
    with database.session() as session:  # changes the physical order of the rows
        session.execute(update(Chunk).where(Chunk.number % 2 == 0).values(sent_at=Chunk.sent_at - 60))
    with ThreadPoolExecutor(8) as pool:
        calls: list[Callable[[], object]] = [
            *[partial(ledger.cancel, job) for job in jobs[:2]] * 2,
            *[partial(ledger.expire, -60)] * 2,
            *[partial(ledger.lost_chunks, True)] * 2,
        ]
        for done in [pool.submit(call) for call in calls]:
            done.result()
    assert state(ledger, jobs[2])[0] == EXPIRED
    database.close()


def test_an_idempotency_key_finds_its_job_only_with_the_same_content(ledger: Ledger) -> None:
    job = ledger.open("ada", "key", "fingerprint", {}, 1)
    assert ledger.open("ada", "key", "fingerprint", {}, 1).id == job.id
    assert ledger.open("bob", "key", "fingerprint", {}, 1).id != job.id
    assert ledger.open("ada", None, "fingerprint", {}, 1).id != job.id
    with pytest.raises(KeyReused):
        ledger.open("ada", "key", "another", {}, 1)
    assert ledger.find(job.id, "bob") is None


@pytest.mark.postgresql
def test_leases_use_the_clock_of_the_database(postgresql: PostgreSQL, monkeypatch: pytest.MonkeyPatch) -> None:
    postgresql.empty()
    database = Database(postgresql.url)
    ledger = Ledger(database)
    job_id = make_job(ledger)
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 3600)  # this machine's clock is an hour ahead
    claimed(ledger, job_id)
    monkeypatch.undo()
    with database.session() as session:
        until = session.scalar(select(Chunk.claimed_until).where(Chunk.number == 0))
    assert until == pytest.approx(now + ledgers.LEASE, abs=30)
    assert ledger.claim(ChunkId(job_id, 0)) is None
    database.close()


def test_concurrent_submits_with_one_key_get_one_job(ledger: Ledger) -> None:
    ledger.has_work()
    with ThreadPoolExecutor(8) as pool:
        jobs = list(pool.map(lambda _: ledger.open("", "key", "fingerprint", {}, 1), range(8)))
        list(pool.map(lambda job: ledger.accept(job.id, ["1.png"], 1), jobs))
    assert len({job.id for job in jobs}) == 1
    assert len(ledger.images(jobs[0].id, 0, 10)) == 1


def test_old_jobs_expire_and_are_removed(ledger: Ledger) -> None:
    done, stuck, half_sent = make_job(ledger, 1), make_job(ledger, 1), ledger.open("", None, "", {}, 1).id
    claim = claimed(ledger, stuck)
    ledger.save(claimed(ledger, done), {0: CAPTIONS})
    assert ledger.expire(60) == []
    assert set(ledger.expire(-60)) == {done, stuck, half_sent}
    assert state(ledger, stuck)[0] == state(ledger, half_sent)[0] == EXPIRED
    assert state(ledger, done)[0] == DONE
    assert not ledger.save(claim, {0: CAPTIONS})
    for job_id in (done, stuck, half_sent):
        ledger.remove(job_id)
        assert ledger.find(job_id, "") is None
        assert ledger.images(job_id, 0, 10) == []
