"""Metrics of unfinished caption jobs, for autoscalers and dashboards."""

from collections.abc import Callable
from typing import NamedTuple

from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from flaskapp.jobs.tables import ACTIVE, Chunk, Job
from flaskapp.readiness import RecentCheck


class Backlog(NamedTuple):
    active_jobs: int
    open_chunks: int  # waiting or claimed
    oldest_age: float  # seconds; 0.0 without a job

    def metrics(self) -> list[Metric]:
        """Return gauges. All servers read one database: aggregate over servers by the maximum, not the sum."""
        return [
            GaugeMetricFamily("flaskapp_jobs_active", "Caption jobs with work left", self.active_jobs),
            GaugeMetricFamily(
                "flaskapp_jobs_open_chunks", "Chunks of caption jobs that wait or are in work", self.open_chunks
            ),
            GaugeMetricFamily(
                "flaskapp_jobs_oldest_age_seconds", "Age of the oldest caption job with work left", self.oldest_age
            ),
        ]


def measure(session: Session, now: float) -> Backlog:
    """Measure the backlog by one query. The index on `is_done` and the quotas bound the rows that it reads."""
    jobs, chunks, oldest = session.execute(
        select(func.count(Chunk.job_id.distinct()), func.count(), func.min(Job.created_at))
        .select_from(Chunk)
        .join(Job, Job.id == Chunk.job_id)
        .where(Chunk.is_done.is_(False), Job.state.in_(ACTIVE))
    ).one()
    return Backlog(jobs, chunks, 0.0 if oldest is None else max(0.0, now - oldest))


class BacklogMonitor:
    """Caches the backlog for a second. Measures it only on request."""

    def __init__(self, measure: Callable[[], Backlog]) -> None:
        self._measure = measure
        self._latest: Backlog | None = None
        self._check = RecentCheck(self._update, "the database does not answer")

    def latest(self) -> Backlog | None:
        """Return the backlog; None if the database fails or does not answer within two seconds."""
        return self._latest if self._check.problem() is None else None

    def _update(self) -> None:
        self._latest = self._measure()
