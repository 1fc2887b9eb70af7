"""Jobs as the database has them. It decides: messages in a broker only announce what is there.

A chunk is worked at under a claim: a lease of LEASE seconds by the database's clock, which its worker renews. Only the
holder of the claim saves, so that an image gets its captions, or the reason why it has none, once. Rows are locked in
one order everywhere, chunks before their jobs and both by their keys, so that no two transactions deadlock.
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
LONGEST_DELAY = 60.0  # seconds before a chunk that was given back is tried again
GRACE = 10.0  # seconds that a message may be on its way
OVERTAKEN = 60.0  # seconds: a message is lost where one that was sent so much later has arrived
LOOKING, ADMITTING, ENDING = 0x73776565, 0x61646D69, 0x656E6469  # any numbers: the keys of PostgreSQL's locks
UNLIMITED = Quotas()
AT_ONCE = 500  # lost messages that are sent again, jobs that are removed
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
        """A new job, or the one that was made with this key. Raises KeyReused if that was of other content.

        Raises TooBusy and QuotaExceeded if it does not fit beside the jobs that have not ended, and what `admit` raises
        for the number of images of a new job that does.
        """
        job = Job(
            id=str(uuid.uuid4()), owner=owner, client=client, key=key, fingerprint=fingerprint, config=dict(config),
            state=RECEIVING, total=total, size=size, webhook=webhook, traceparent=traceparent,
        )  # fmt: skip
        try:
            with self._database.session() as session:
                exclude_others(session, ADMITTING)
                job.created_at = current_time(session)
                session.add(job)
                session.flush()
                self._quotas.check(session, job)
                admit(total)  # last: a job that is known or refused costs nothing
            return job
        except IntegrityError:
            with self._database.session() as session:
                known = session.scalar(select(Job).where(Job.owner == owner, Job.key == key))
        if known is None or known.fingerprint != fingerprint:
            raise KeyReused(KEY_REUSED)
        return known

    def accept(self, job_id: str, names: Sequence[str], chunk_size: int) -> bool:
        """Let work begin, now that all images are stored. False: it has begun before, or the job has ended."""
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
        """End a job, unless it has ended. Workers find that their claims are gone."""
        with self._database.session() as session:
            self._abandon(session, [job_id], CANCELLED)

    # Work

    def claim_next(self, announced: ChunkId) -> Claim | None:
        """Claim the next chunk in fair order; None if no chunk is free.

        Each message entitles a worker to one chunk, not necessarily the announced one: another message covers that.
        """
        with self._database.session() as session:
            self._hear(session, announced)
            now = current_time(session)
            chunk = next_chunk(session, announced, now)
            return chunk and self._claim(session, chunk, now)

    def claim(self, chunk: ChunkId) -> Claim | None:
        """Claim this chunk; None if it is done or another worker has it."""
        with self._database.session() as session:
            self._hear(session, chunk)
            return self._claim(session, chunk, current_time(session))

    @staticmethod
    def _hear(session: Session, announced: ChunkId) -> None:
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
        """Keep a claim. False: it is another's, or the job was cancelled."""
        with self._database.session() as session:
            kept = update(Chunk).where(*is_claimed_by(claim)).values(claimed_until=current_time(session) + LEASE)
            return found_a_row(session, kept)

    def try_alone(self, claim: Claim, image: int) -> int | None:
        """Count one more attempt at an image by itself, before it is made.

        Returns how many there are; None: the claim is gone.
        """
        ours = (Image.job_id == claim.chunk.job_id, Image.number == image)
        with self._database.session() as session:
            counted = (
                update(Image).where(*ours, exists().where(*is_claimed_by(claim))).values(attempts=Image.attempts + 1)
            )
            if not found_a_row(session, counted):
                return None
            return session.scalars(select(Image.attempts).where(*ours)).one()

    def take_back(self, claim: Claim, image: int) -> None:
        """Do not count an attempt with one image that the worker survived, even if another has the claim by now."""
        ours = (Image.job_id == claim.chunk.job_id, Image.number == image, Image.attempts > 0)
        with self._database.session() as session:
            session.execute(update(Image).where(*ours).values(attempts=Image.attempts - 1))

    def save(self, claim: Claim, outcomes: Mapping[int, Outcome]) -> bool:
        """Write what became of some images; the chunk is done with the last. False: the claim is gone."""
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

    def give_back(self, claim: Claim, is_attempt: bool) -> None:
        """Let the chunk be tried again after a while. `is_attempt`: it counts as one."""
        with self._database.session() as session:
            delays = session.scalar(select(Chunk.delays).where(*is_claimed_by(claim))) or 0
            until = current_time(session) + min(LONGEST_DELAY, 2.0 ** min(delays, 10))
            session.execute(
                update(Chunk)
                .where(*is_claimed_by(claim))
                .values(claim=None, claimed_until=until, delays=delays + 1, attempts=claim.attempts - (not is_attempt))
            )

    # Housekeeping

    def finish(self, job_ids: Iterable[str] | None = None) -> None:
        """End jobs whose chunks are all done: in a transaction after the one that did the last, to see the others'."""
        is_left = exists().where(Chunk.job_id == Job.id, Chunk.is_done.is_(False))
        with self._database.session() as session:
            if job_ids is None and not is_alone(session, LOOKING):
                return
            chosen = [] if job_ids is None else [Job.id.in_(list(job_ids))]
            self._end(session, and_(*chosen, Job.state == RUNNING, ~is_left), DONE)

    def lost(self, is_queue_empty: bool) -> list[ChunkId]:
        """Chunks without a worker and without a message; the caller sends new messages.

        So it is with a message that was sent a while ago if none waits, or if those have arrived that were sent later.
        """
        open_jobs = select(Job.id).where(Job.state.in_(ACTIVE))
        with self._database.session() as session:
            if not is_alone(session, LOOKING):
                return []
            now = current_time(session)
            is_lost = Chunk.sent_at < now - GRACE
            if not is_queue_empty:
                heard = (Chunk.is_heard, Chunk.job_id.in_(open_jobs))
                newest = session.scalar(select(func.max(Chunk.sent_at)).where(*heard))
                is_overtaken = Chunk.sent_at < min(now - GRACE, (newest or 0) - OVERTAKEN)
                # A message that was used for another chunk is not lost: that chunk's message is still queued.
                is_lost = and_(is_overtaken, or_(~Chunk.is_heard, Chunk.claimed_until.is_not(None)))
            chosen = (
                select(Chunk.job_id, Chunk.number)
                .where(Chunk.is_done.is_(False), is_lost, is_free(now), Chunk.job_id.in_(open_jobs))
                .order_by(Chunk.sent_at)
                .limit(AT_ONCE)
                .with_for_update(skip_locked=True, of=Chunk)  # a worker that has locked one works at it, or sends it
            )
            found = []
            for chunk in [ChunkId(*row) for row in session.execute(chosen)]:
                # SQLite locks nothing before the first of these: another may have been here
                again = update(Chunk).where(*is_chunk(chunk), is_lost, is_free(now))
                if found_a_row(session, again.values(sent_at=now, is_heard=False)):
                    found.append(chunk)
            return found

    def expire(self, age: float) -> list[str]:
        """Expire jobs older than `age` seconds. Returns the ids of all jobs that ended longer ago than that."""
        with self._database.session() as session:
            before = current_time(session) - age
            old = Job.created_at < before
            stale = select(Job.id).where(old, Job.state.in_([*ACTIVE, RECEIVING])).limit(AT_ONCE)
            self._abandon(session, session.scalars(stale).all(), EXPIRED)
            return list(session.scalars(select(Job.id).where(Job.ended_at < before).limit(AT_ONCE)))

    def close(self) -> None:
        """Close the pooled connections."""
        self._database.close()

    def remove(self, job_id: str) -> None:
        with self._database.session() as session:
            for table, column in ((Image, Image.job_id), (Chunk, Chunk.job_id), (Job, Job.id)):
                session.execute(delete(table).where(column == job_id))

    def _abandon(self, session: Session, job_ids: Sequence[str], state: str) -> None:
        """End jobs that are not done.

        One transaction at a time: PostgreSQL has seen a circle of two, though each locks chunks in the same order.
        """
        if not job_ids:
            return
        wait_for_others(session, ENDING)
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
        in_order = select(Job.id).where(which, is_open).order_by(Job.id).limit(AT_ONCE)
        chosen = session.scalars(in_order.with_for_update()).all()
        now = current_time(session)
        due_at = case((Job.webhook.is_not(None), now))
        ended = update(Job).where(Job.id.in_(chosen), is_open).values(state=state, ended_at=now, webhook_due_at=due_at)
        session.execute(ended.execution_options(synchronize_session=False))
