"""The status of a job, as clients see it."""

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple

from flaskapp.jobs.tables import ACTIVE, QUEUED, RECEIVING, Job


class Counts(NamedTuple):
    """Numbers of a job's images."""

    done: int  # with captions
    failed: int  # with an error


@dataclass(frozen=True)
class JobStatus:
    id: str
    state: str
    total: int  # images
    done: int  # with captions
    failed: int  # with an error
    seconds_remaining: float | None  # estimate; None if there is none
    created_at: datetime
    ended_at: datetime | None
    sequences: int  # captions per image

    @classmethod
    def of(cls, job: Job, counts: Counts) -> "JobStatus":
        return cls(
            id=job.id,
            state=QUEUED if job.state == RECEIVING else job.state,
            total=job.total,
            done=counts.done,
            failed=counts.failed,
            seconds_remaining=_estimate(job, sum(counts)),
            created_at=datetime.fromtimestamp(job.created_at, UTC),
            ended_at=None if job.ended_at is None else datetime.fromtimestamp(job.ended_at, UTC),
            sequences=job.config.get("num_return_sequences") or 1,
        )

    @property
    def has_ended(self) -> bool:
        return self.state not in ACTIVE

    @property
    def progress(self) -> tuple[str, int, int]:
        """The fields that change with the job, without the estimate, which changes with the clock."""
        return self.state, self.done, self.failed

    def as_json(self) -> dict[str, object]:
        """Return the members of the API's job status."""
        return {
            "id": self.id,
            "state": self.state,
            "total": self.total,
            "done": self.done,
            "failed": self.failed,
            "seconds_remaining": self.seconds_remaining,
            "created_at": self.created_at.isoformat(),
            "ended_at": self.ended_at and self.ended_at.isoformat(),
        }


def _estimate(job: Job, finished: int) -> float | None:
    """Estimate the remaining seconds at the pace so far. Returns None before the first image is finished."""
    if job.state not in (*ACTIVE, RECEIVING):
        return 0.0
    if not finished or job.started_at is None:
        return None
    return max(0.1, round((time.time() - job.started_at) / finished * (job.total - finished), 1))
