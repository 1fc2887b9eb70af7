"""Quotas of waiting caption jobs: bytes of all clients, and images and jobs of each client."""

import math
from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from flaskapp.errors import QuotaExceeded, TooBusy
from flaskapp.jobs.claims import is_open
from flaskapp.jobs.tables import ACTIVE, RECEIVING, Image, Job

RETRY_AFTER = 60  # seconds after which another job may have ended


@dataclass(frozen=True)
class Quotas:
    room: float = math.inf  # bytes of the images of all jobs that have not ended
    client_images: float = math.inf  # of one client, without captions or an error
    client_jobs: float = math.inf  # of one client that have not ended

    def check(self, session: Session, new: Job) -> None:
        """Check a job that this transaction has just added. The caller holds a lock, so the quotas are exact.

        A client's only job never exceeds its quota of images, nor the only job of all the quota of bytes: single jobs
        have limits of their own. Raises TooBusy or QuotaExceeded.
        """
        has_not_ended = Job.state.in_([*ACTIVE, RECEIVING])
        used = session.scalar(select(func.sum(Job.size)).where(has_not_ended)) or 0
        if new.size < used > self.room:
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
        """Number of images without captions or an error. Jobs that are being received have no image rows yet."""
        receiving = select(func.sum(Job.total)).where(*of_jobs, Job.state == RECEIVING)  # type: ignore[arg-type]
        active = select(Job.id).where(*of_jobs, Job.state.in_(ACTIVE))  # type: ignore[arg-type]
        waiting = select(func.count()).select_from(Image).where(Image.job_id.in_(active), is_open())
        return (session.scalar(receiving) or 0) + (session.scalar(waiting) or 0)
