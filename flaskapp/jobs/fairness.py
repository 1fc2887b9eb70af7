"""Round-robin between clients: a client with many images does not delay the others."""

from typing import NamedTuple

from sqlalchemy import and_, exists, func, or_, select
from sqlalchemy.orm import Session

from flaskapp.jobs.claims import ChunkId, is_chunk, is_free
from flaskapp.jobs.tables import ACTIVE, Chunk, Job

HISTORY = 60.0  # seconds for which the claims of an ended job still count as its client's


class Candidate(NamedTuple):
    """A job with a free chunk."""

    job_id: str
    client: str


def next_chunk(session: Session, announced: ChunkId, now: float) -> ChunkId | None:
    """Return a free chunk of the client with the oldest last claim; None if no chunk is free.

    Within a client, the announced chunk comes first, then the oldest job. Locks the row where the database can.
    """
    for candidate in _in_turn(session, announced.job_id, now):
        free = (Chunk.job_id == candidate.job_id, Chunk.is_done.is_(False), is_free(now))
        chosen = select(Chunk.number).where(*free).order_by(Chunk.number).limit(1)
        if candidate.job_id == announced.job_id:
            chosen = (
                select(Chunk.number).where(*free).order_by(and_(*is_chunk(announced)).desc(), Chunk.number).limit(1)
            )
        number = session.scalar(chosen.with_for_update(skip_locked=True, of=Chunk))
        if number is not None:  # None: other workers have just claimed the free chunks
            return ChunkId(candidate.job_id, number)
    return None


def _in_turn(session: Session, announced: str, now: float) -> list[Candidate]:
    """Return jobs with free chunks, sorted by their client's last claim; a client's announced job is its first."""
    has_free = exists().where(Chunk.job_id == Job.id, Chunk.is_done.is_(False), is_free(now))
    last = select(func.max(Chunk.claimed_until)).where(Chunk.job_id == Job.id).scalar_subquery()
    is_active = Job.state.in_(ACTIVE)
    recent = select(Job.id, Job.client, Job.created_at, last, and_(is_active, has_free)).where(
        or_(is_active, Job.ended_at > now - HISTORY)
    )
    rows = session.execute(recent).all()
    last_claims: dict[str, float] = {}
    for _, client, _, claimed_until, _ in rows:
        last_claims[client] = max(last_claims.get(client, 0.0), claimed_until or 0.0)
    waiting = [row for row in rows if row[4]]
    waiting.sort(key=lambda row: (last_claims[row[1]], row[1], row[0] != announced, row[2], row[0]))
    return [Candidate(job_id, client) for job_id, client, *_ in waiting]
