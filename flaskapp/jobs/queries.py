"""Queries for jobs. None of them changes the database."""

from collections.abc import Sequence

from sqlalchemy import ColumnElement, func, or_, select
from sqlalchemy.orm import Session

from flaskapp.database import Database, current_time
from flaskapp.jobs import backlog
from flaskapp.jobs.backlog import Backlog
from flaskapp.jobs.status import Counts
from flaskapp.jobs.tables import ACTIVE, Chunk, Image, Job

Found = tuple[Job, Counts]


class JobQueries:
    """Every method is one transaction, and raises DatabaseUnavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def find(self, job_id: str, owner: str) -> Found | None:
        """Find a job of an owner by one statement: clients that wait for a job call this often."""
        with self._database.session() as session:
            return next(iter(with_counts(session, Job.id == job_id, Job.owner == owner)), None)

    def page(self, owner: str, client: str, first: int, count: int) -> tuple[list[Found], int]:
        """Return `count` jobs of a client from number `first` on, newest first, and the number of all its jobs."""
        theirs = (Job.owner == owner, Job.client == client)
        newest_first = (Job.created_at.desc(), Job.id)
        with self._database.session() as session:
            total = session.scalar(select(func.count(Job.id)).where(*theirs)) or 0
            if first >= total:
                return [], total
            ids = session.scalars(
                select(Job.id).where(*theirs).order_by(*newest_first).offset(first).limit(count)
            ).all()
            found = {job.id: (job, counts) for job, counts in with_counts(session, Job.id.in_(ids))}
            return [found[job_id] for job_id in ids], total

    def images(self, job_id: str, first: int, count: int) -> Sequence[Image]:
        """Return rows in upload order."""
        chosen = select(Image).where(Image.job_id == job_id, Image.number >= first, Image.number < first + count)
        with self._database.session() as session:
            return session.scalars(chosen.order_by(Image.number)).all()

    def done_chunks(self, job_id: str) -> Sequence[int]:
        """Return the numbers of the completed chunks."""
        with self._database.session() as session:
            return session.scalars(select(Chunk.number).where(Chunk.job_id == job_id, Chunk.is_done)).all()

    def has_work(self) -> bool:
        """Return whether a job has images to caption or a webhook to send."""
        is_work = or_(Job.state.in_(ACTIVE), Job.webhook_due_at.is_not(None))
        with self._database.session() as session:
            return session.scalar(select(Job.id).where(is_work).limit(1)) is not None

    def backlog(self) -> Backlog:
        with self._database.session() as session:
            return backlog.measure(session, current_time(session))


def with_counts(session: Session, *conditions: ColumnElement[bool]) -> list[Found]:
    """Return jobs with the counts of their images. A job that is being received has no rows of images yet."""
    counts = (func.count(Image.captions), func.count(Image.error))
    chosen = select(Job, *counts).outerjoin(Image, Image.job_id == Job.id).where(*conditions).group_by(Job.id)
    return [(job, Counts(done, failed)) for job, done, failed in session.execute(chosen)]
