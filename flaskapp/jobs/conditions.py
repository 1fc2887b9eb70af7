"""Conditions on chunks and images that several SQL statements share."""

from typing import Any

from sqlalchemy import and_, or_

from flaskapp.jobs.claims import ChunkId, Claim
from flaskapp.jobs.tables import Chunk, Image


def is_chunk(chunk: ChunkId) -> tuple[Any, Any]:
    return Chunk.job_id == chunk.job_id, Chunk.number == chunk.number


def is_of(claim: Claim) -> tuple[Any, ...]:
    """The chunk of a claim, as long as the claim holds."""
    return *is_chunk(claim.chunk), Chunk.claim == claim.token, Chunk.is_done.is_(False)


def is_free(now: float) -> Any:
    """A chunk that no worker has."""
    return or_(Chunk.claimed_until.is_(None), Chunk.claimed_until < now)


def is_in(chunk: ChunkId) -> Any:
    return and_(Image.job_id == chunk.job_id, Image.chunk == chunk.number)


def is_open() -> Any:
    """An image with neither captions nor an error."""
    return and_(Image.captions.is_(None), Image.error.is_(None))
