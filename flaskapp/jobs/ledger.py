"""Changes of jobs in the database, which is the record: messages in a broker only announce chunks.

A worker claims a chunk before it captions it. A claim is a lease of LEASE seconds by the database's clock, which the
worker renews. Only the worker with the claim may save, so each image gets one outcome. All transactions lock rows in
one order, chunks before jobs and both by their keys, so that no two deadlock.
"""

import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import and_, case, delete, exists, func, insert, or_, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from flaskapp.database import Database, current_time, exclude_others, found_a_row, is_alone, wait_for_others
from flaskapp.errors import KeyReused
from flaskapp.jobs.claims import ChunkId, Claim, Outcome, is_chunk, is_claimed_by, is_free, is_in, is_open
from flaskapp.jobs.fairness import next_chunk
from flaskapp.jobs.queries import JobQueries
from flaskapp.jobs.quotas import Quotas
from flaskapp.jobs.tables import (
    ACTIVE,
    CANCELLED,
    DONE,
    EXPIRED,
    MAX_ERROR,
    QUEUED,
    RECEIVING,
    RUNNING,
    Chunk,
    Image,
    Job,
)

LEASE = 20.0  # seconds
MAX_DELAY = 60.0  # seconds before a released chunk is tried again
DELIVERY_TIME = 10.0  # seconds that a message may take to arrive
REORDERING = 60.0  # seconds: a message is lost if one that was sent so much later has arrived
SWEEP_LOCK, ADMISSION_LOCK, END_LOCK = 0x73776565, 0x61646D69, 0x656E6469  # arbitrary keys of PostgreSQL's locks
UNLIMITED = Quotas()
MAX_ROWS = 500  # chunks or jobs that one transaction changes
KEY_REUSED = "this Idempotency-Key was used for another job"


class Ledger(JobQueries):
    """Every method is one transaction, and raises DatabaseUnavailable."""

    def __init__(self, database: Database, quotas: Quotas = UNLIMITED) -> None:
        super().__init__(database)
        self._quotas = quotas

    # Jobs

    def open(
        self,
        owner: str,
        key: str | None,
        fingerprint: str,
        config: Mapping[str, Any],
        total: int,
        size: int = 0,
        client: str = "",
        admit: Callable[[int], None] = lambda images: None,
        webhook: str | None = None,
        traceparent: str | None = None,
    ) -> Job:
        """Create a job, or return the job with the same key and content.

        Raises KeyReused if the job with this key has other content, and TooBusy or QuotaExceeded if a new job is over a
        quota. Then calls `admit` with the number of images, which may raise an error to refuse the new job.
        """
        job = Job(
            id=str(uuid.uuid4()), owner=owner, client=client, key=key, fingerprint=fingerprint, config=dict(config),
            state=RECEIVING, total=total, size=size, webhook=webhook, traceparent=traceparent,
        )  # fmt: skip
        try:
            with self._database.session() as session:
                exclude_others(session, ADMISSION_LOCK)
                job.created_at = current_time(session)
                session.add(job)
                session.flush()
                self._quotas.check(session, job)
                admit(total)  # last, so that a known or refused job does not count
            return job
        except IntegrityError:
            with self._database.session() as session:
                known = session.scalar(select(Job).where(Job.owner == owner, Job.key == key))
        if known is None or known.fingerprint != fingerprint:
            raise KeyReused(KEY_REUSED)
        return known

    def accept(self, job_id: str, names: Sequence[str], chunk_size: int) -> bool:
        """Queue a job whose images are all stored. Returns False if the job was queued before or has ended."""
        chunks = range(0, len(names), chunk_size)
        with self._database.session() as session:
            accepted = update(Job).where(Job.id == job_id, Job.state == RECEIVING).values(state=QUEUED)
            if not found_a_row(session, accepted):
                return False
            now = current_time(session)
            rows = [{"job_id": job_id, "number": number, "sent_at": now} for number in range(len(chunks))]
            session.execute(insert(Chunk), rows)
            session.execute(
                insert(Image),
                [
                    {"job_id": job_id, "number": number, "chunk": number // chunk_size, "input": name}
                    for number, name in enumerate(names)
                ],
            )
            return True

    def cancel(self, job_id: str) -> None:
        """End a job unless it has ended. Its workers lose their claims."""
        with self._database.session() as session:
            self._abandon(session, [job_id], CANCELLED)

    # Work

    def claim_next(self, announced: ChunkId) -> Claim | None:
        """Claim the next chunk in fair order. Returns None if no chunk is free.

        Each message entitles a worker to one chunk, not necessarily the announced one: another message covers that.
        """
        with self._database.session() as session:
            self._mark_arrived(session, announced)
            now = current_time(session)
            chunk = next_chunk(session, announced, now)
            return chunk and self._claim(session, chunk, now)

    def claim(self, chunk: ChunkId) -> Claim | None:
        """Claim this chunk. Returns None if it is done or another worker has it."""
        with self._database.session() as session:
            self._mark_arrived(session, chunk)
            return self._claim(session, chunk, current_time(session))

    @staticmethod
    def _mark_arrived(session: Session, announced: ChunkId) -> None:
        """Record that a worker received the last message about a chunk."""
        session.execute(update(Chunk).where(*is_chunk(announced)).values(is_heard=True))

    @staticmethod
    def _claim(session: Session, chunk: ChunkId, now: float) -> Claim | None:
        token = uuid.uuid4().hex
        claimed = update(Chunk).where(*is_chunk(chunk), Chunk.is_done.is_(False), is_free(now))
        values = {"claim": token, "claimed_until": now + LEASE, "attempts": Chunk.attempts + 1}
        if not found_a_row(session, claimed.values(values)):
            return None
        started = update(Job).where(Job.id == chunk.job_id, Job.state == QUEUED)
        session.execute(started.values(state=RUNNING, started_at=now))
        attempts = session.scalars(select(Chunk.attempts).where(*is_chunk(chunk))).one()
        config, traceparent = session.execute(select(Job.config, Job.traceparent).where(Job.id == chunk.job_id)).one()
        left = select(Image.number).where(is_in(chunk), is_open()).order_by(Image.number)
        return Claim(chunk, token, config, attempts, session.scalars(left).all(), traceparent)

    def renew(self, claim: Claim) -> bool:
        """Renew the lease of a claim. Returns False if the claim was lost: it expired, or the job was cancelled."""
        with self._database.session() as session:
            kept = update(Chunk).where(*is_claimed_by(claim)).values(claimed_until=current_time(session) + LEASE)
            return found_a_row(session, kept)

    def count_attempt(self, claim: Claim, image: int) -> int | None:
        """Count an attempt at one image before it is made. Returns their number; None if the claim was lost."""
        ours = (Image.job_id == claim.chunk.job_id, Image.number == image)
        with self._database.session() as session:
            counted = (
                update(Image).where(*ours, exists().where(*is_claimed_by(claim))).values(attempts=Image.attempts + 1)
            )
            if not found_a_row(session, counted):
                return None
            return session.scalars(select(Image.attempts).where(*ours)).one()

    def refund_attempt(self, claim: Claim, image: int) -> None:
        """Uncount an attempt at one image that the worker survived, even if the claim was lost meanwhile."""
        ours = (Image.job_id == claim.chunk.job_id, Image.number == image, Image.attempts > 0)
        with self._database.session() as session:
            session.execute(update(Image).where(*ours).values(attempts=Image.attempts - 1))

    def save(self, claim: Claim, outcomes: Mapping[int, Outcome]) -> bool:
        """Save outcomes. The last one of a chunk completes it. Returns False if the claim was lost."""
        job_id = claim.chunk.job_id
        with self._database.session() as session:
            if not found_a_row(session, update(Chunk).where(*is_claimed_by(claim)).values(claim=claim.token)):
                return False
            for number, outcome in outcomes.items():
                error = outcome.error and outcome.error[:MAX_ERROR]
                session.execute(
                    update(Image)
                    .where(Image.job_id == job_id, Image.number == number, is_open())
                    .values(captions=outcome.captions, error=error)
                )
            is_left = exists().where(is_in(claim.chunk), is_open())
            session.execute(update(Chunk).where(*is_chunk(claim.chunk), ~is_left).values(is_done=True))
        self.finish([job_id])
        return True

    def release(self, claim: Claim, *, is_attempt: bool) -> None:
        """Release a claim, counted as an attempt or not. The chunk is free after a delay that doubles each time."""
        with self._database.session() as session:
            delays = session.scalar(select(Chunk.delays).where(*is_claimed_by(claim))) or 0
            until = current_time(session) + min(MAX_DELAY, 2.0 ** min(delays, 10))
            session.execute(
                update(Chunk)
                .where(*is_claimed_by(claim))
                .values(claim=None, claimed_until=until, delays=delays + 1, attempts=claim.attempts - (not is_attempt))
            )

    # Housekeeping

    def finish(self, job_ids: Iterable[str] | None = None) -> None:
        """End jobs whose chunks are all done.

        Call this after the transaction that completed a chunk, so that it sees the chunks of concurrent transactions.
        """
        is_left = exists().where(Chunk.job_id == Job.id, Chunk.is_done.is_(False))
        with self._database.session() as session:
            if job_ids is None and not is_alone(session, SWEEP_LOCK):
                return
            chosen = [] if job_ids is None else [Job.id.in_(list(job_ids))]
            self._end(session, and_(*chosen, Job.state == RUNNING, ~is_left), DONE)

    def lost_chunks(self, is_queue_empty: bool) -> list[ChunkId]:
        """Return free chunks whose messages are lost. The caller sends new ones.

        A message is lost if the queue is empty DELIVERY_TIME after it was sent, or if another one that was sent
        REORDERING seconds later has arrived.
        """
        open_jobs = select(Job.id).where(Job.state.in_(ACTIVE))
        with self._database.session() as session:
            if not is_alone(session, SWEEP_LOCK):
                return []
            now = current_time(session)
            is_lost = Chunk.sent_at < now - DELIVERY_TIME
            if not is_queue_empty:
                arrived = (Chunk.is_heard, Chunk.job_id.in_(open_jobs))
                newest = session.scalar(select(func.max(Chunk.sent_at)).where(*arrived))
                is_overtaken = Chunk.sent_at < min(now - DELIVERY_TIME, (newest or 0) - REORDERING)
                # A message that was used for another chunk is not lost: that chunk's message is still queued.
                is_lost = and_(is_overtaken, or_(~Chunk.is_heard, Chunk.claimed_until.is_not(None)))
            chosen = (
                select(Chunk.job_id, Chunk.number)
                .where(Chunk.is_done.is_(False), is_lost, is_free(now), Chunk.job_id.in_(open_jobs))
                .order_by(Chunk.sent_at)
                .limit(MAX_ROWS)
                .with_for_update(skip_locked=True, of=Chunk)  # a locked chunk is being claimed, or sent again
            )
            found = []
            for chunk in [ChunkId(*row) for row in session.execute(chosen)]:
                # SQLite locks nothing before this update: another worker may have sent it again
                again = update(Chunk).where(*is_chunk(chunk), is_lost, is_free(now))
                if found_a_row(session, again.values(sent_at=now, is_heard=False)):
                    found.append(chunk)
            return found

    def expire(self, age: float) -> list[str]:
        """Expire unfinished jobs older than `age` seconds. Returns the ids of jobs that ended longer ago than that."""
        with self._database.session() as session:
            before = current_time(session) - age
            old = Job.created_at < before
            stale = select(Job.id).where(old, Job.state.in_([*ACTIVE, RECEIVING])).limit(MAX_ROWS)
            self._abandon(session, session.scalars(stale).all(), EXPIRED)
            return list(session.scalars(select(Job.id).where(Job.ended_at < before).limit(MAX_ROWS)))

    def close(self) -> None:
        """Close the pooled connections."""
        self._database.close()

    def remove(self, job_id: str) -> None:
        with self._database.session() as session:
            for table, column in ((Image, Image.job_id), (Chunk, Chunk.job_id), (Job, Job.id)):
                session.execute(delete(table).where(column == job_id))

    def _abandon(self, session: Session, job_ids: Sequence[str], state: str) -> None:
        """End jobs that are not done.

        One transaction at a time: two of them deadlocked on PostgreSQL, although both lock chunks in the same order.
        """
        if not job_ids:
            return
        wait_for_others(session, END_LOCK)
        is_open = exists().where(Job.id == Chunk.job_id, Job.state.in_([*ACTIVE, RECEIVING]))
        left = (Chunk.job_id.in_(job_ids), Chunk.is_done.is_(False), is_open)
        in_order = select(Chunk.number).where(*left).order_by(Chunk.job_id, Chunk.number)
        session.execute(in_order.with_for_update(of=Chunk)).all()
        abandoned = update(Chunk).where(*left).values(is_done=True, claim=None)
        session.execute(abandoned.execution_options(synchronize_session=False))
        self._end(session, Job.id.in_(job_ids), state)

    @staticmethod
    def _end(session: Session, which: Any, state: str) -> None:
        is_open = Job.state.in_([*ACTIVE, RECEIVING])
        in_order = select(Job.id).where(which, is_open).order_by(Job.id).limit(MAX_ROWS)
        chosen = session.scalars(in_order.with_for_update()).all()
        now = current_time(session)
        due_at = case((Job.webhook.is_not(None), now))
        ended = update(Job).where(Job.id.in_(chosen), is_open).values(state=state, ended_at=now, webhook_due_at=due_at)
        session.execute(ended.execution_options(synchronize_session=False))
