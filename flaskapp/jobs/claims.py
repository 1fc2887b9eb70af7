"""Chunks, the claims of workers on them, and the SQL conditions that find their rows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from sqlalchemy import and_, or_

from flaskapp.jobs.tables import Chunk, Image


class ChunkId(NamedTuple):
    job_id: str
    number: int


@dataclass(frozen=True, eq=False)
class Claim:
    """A worker's lease on a chunk, and what it needs to caption the chunk."""

    chunk: ChunkId
    token: str
    config: Mapping[str, Any]
    attempts: int  # this one included
    images: Sequence[int]  # numbers of the images with neither captions nor an error
    traceparent: str | None  # the trace of the job


@dataclass(frozen=True)
class Outcome:
    """An image's captions, or the reason why it has none."""

    captions: list[str] | None = None
    error: str | None = None


def is_chunk(chunk: ChunkId) -> tuple[Any, Any]:
    return Chunk.job_id == chunk.job_id, Chunk.number == chunk.number


def is_claimed_by(claim: Claim) -> tuple[Any, ...]:
    """Match the chunk of a claim while the claim holds."""
    return *is_chunk(claim.chunk), Chunk.claim == claim.token, Chunk.is_done.is_(False)


def is_free(now: float) -> Any:
    """Match chunks that no worker has claimed."""
    return or_(Chunk.claimed_until.is_(None), Chunk.claimed_until < now)


def is_in(chunk: ChunkId) -> Any:
    """Match the images of a chunk."""
    return and_(Image.job_id == chunk.job_id, Image.chunk == chunk.number)


def is_open() -> Any:
    """Match images with neither captions nor an error."""
    return and_(Image.captions.is_(None), Image.error.is_(None))
