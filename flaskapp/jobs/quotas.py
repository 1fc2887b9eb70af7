"""Quotas of unfinished caption jobs: bytes of all clients together, images and jobs of each client."""

import math
from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from flaskapp.errors import QuotaExceeded, TooBusy
from flaskapp.jobs.claims import is_open
from flaskapp.jobs.tables import ACTIVE, RECEIVING, Image, Job

RETRY_AFTER = 60  # seconds until another job may have ended


@dataclass(frozen=True)
class Quotas:
    total_bytes: float = math.inf  # of the images of all unfinished jobs
    client_images: float = math.inf  # images of a client with neither captions nor an error
    client_jobs: float = math.inf  # unfinished jobs of a client

    def check(self, session: Session, new: Job) -> None:
        """Check a job that this transaction has just added. Raises TooBusy or QuotaExceeded.

        The caller holds a lock, so the quotas are exact. A client's only job never exceeds its quota of images, nor the
        only job of all clients the quota of bytes: a single job has limits of its own.
        """
        has_not_ended = Job.state.in_([*ACTIVE, RECEIVING])
        used = session.scalar(select(func.sum(Job.size)).where(has_not_ended)) or 0
        if new.size < used > self.total_bytes:
            raise TooBusy("too many images of caption jobs wait", retry_after=RETRY_AFTER)
        others = (has_not_ended, Job.client == new.client, Job.id != new.id)
        jobs = session.scalar(select(func.count(Job.id)).where(*others)) or 0
        if jobs >= self.client_jobs:
            raise QuotaExceeded(f"{jobs} of your caption jobs wait already: wait for one to end", RETRY_AFTER)
        if jobs and math.isfinite(self.client_images):
            images = self._waiting(session, *others)
            if images and images + new.total > self.client_images:
                message = (
                    f"{images} of your images wait already, and {self.client_images} may: wait for some to be done"
                )
                raise QuotaExceeded(message, RETRY_AFTER)

    @staticmethod
    def _waiting(session: Session, *of_jobs: object) -> int:
        """Count images with neither captions nor an error. Jobs that are being received have no rows of images yet."""
        receiving = select(func.sum(Job.total)).where(*of_jobs, Job.state == RECEIVING)  # type: ignore[arg-type]
        active = select(Job.id).where(*of_jobs, Job.state.in_(ACTIVE))  # type: ignore[arg-type]
        waiting = select(func.count()).select_from(Image).where(Image.job_id.in_(active), is_open())
        return (session.scalar(receiving) or 0) + (session.scalar(waiting) or 0)
