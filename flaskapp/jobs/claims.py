"""What a worker is given to do, and what it gives back."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple


class Counts(NamedTuple):
    done: int
    failed: int


class ChunkId(NamedTuple):
    job_id: str
    number: int


@dataclass(frozen=True, eq=False)
class Claim:
    """What a worker is to do, and by which right."""

    chunk: ChunkId
    token: str
    config: Mapping[str, Any]
    attempts: int  # this one included
    images: Sequence[int]  # the numbers of those that have neither captions nor an error
    traceparent: str | None  # the trace of the job


@dataclass(frozen=True)
class Outcome:
    """An image's captions, or the reason why it has none."""

    captions: list[str] | None = None
    error: str | None = None
