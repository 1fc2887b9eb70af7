"""Round-robin between clients: a client with many images does not delay the others."""

from typing import NamedTuple

from sqlalchemy import and_, exists, func, or_, select
from sqlalchemy.orm import Session

from flaskapp.jobs.claims import ChunkId, is_chunk, is_free
from flaskapp.jobs.tables import ACTIVE, Chunk, Job

MEMORY = 60.0  # seconds; ended jobs count as their client's last turn


class Candidate(NamedTuple):
    """A job with a chunk that no worker has."""

    job_id: str
    client: str


def next_chunk(session: Session, announced: ChunkId, now: float) -> ChunkId | None:
    """A free chunk of the client with the oldest last claim; None if no chunk is free.

    Within a client, the announced chunk comes first, then the oldest job. Locks the row if the database supports it.
    """
    for candidate in _in_turn(session, announced.job_id, now):
        free = (Chunk.job_id == candidate.job_id, Chunk.is_done.is_(False), is_free(now))
        chosen = select(Chunk.number).where(*free).order_by(Chunk.number).limit(1)
        if candidate.job_id == announced.job_id:
            chosen = (
                select(Chunk.number).where(*free).order_by(and_(*is_chunk(announced)).desc(), Chunk.number).limit(1)
            )
        number = session.scalar(chosen.with_for_update(skip_locked=True, of=Chunk))
        if number is not None:  # None: other workers have just claimed the rest
            return ChunkId(candidate.job_id, number)
    return None


def _in_turn(session: Session, announced: str, now: float) -> list[Candidate]:
    """Jobs with free chunks, sorted by their client's last claim; within a client the announced job is first."""
    has_free = exists().where(Chunk.job_id == Job.id, Chunk.is_done.is_(False), is_free(now))
    last = select(func.max(Chunk.claimed_until)).where(Chunk.job_id == Job.id).scalar_subquery()
    is_active = Job.state.in_(ACTIVE)
    recent = select(Job.id, Job.client, Job.created_at, last, and_(is_active, has_free)).where(
        or_(is_active, Job.ended_at > now - MEMORY)
    )
    rows = session.execute(recent).all()
    turns: dict[str, float] = {}
    for _, client, _, claimed_until, _ in rows:
        turns[client] = max(turns.get(client, 0.0), claimed_until or 0.0)
    waiting = [row for row in rows if row[4]]
    waiting.sort(key=lambda row: (turns[row[1]], row[1], row[0] != announced, row[2], row[0]))
    return [Candidate(job_id, client) for job_id, client, *_ in waiting]
