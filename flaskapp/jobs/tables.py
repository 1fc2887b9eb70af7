"""The rows of caption jobs. Times are seconds since 1970."""

from typing import Any

from sqlalchemy import JSON, BigInteger, Float, ForeignKey, Index, String, UniqueConstraint, false
from sqlalchemy.orm import Mapped, mapped_column

from flaskapp import trace_context
from flaskapp.accounts import MAX_USERNAME
from flaskapp.database import Base

MAX_KEY = 255  # characters of an Idempotency-Key
MAX_INPUT = 255  # characters of a file's name
MAX_ERROR = 255  # characters of an image's error
MAX_WEBHOOK = 2048  # characters of a URL

RECEIVING = "receiving"  # its images are being stored; workers do not see it
QUEUED, RUNNING, DONE, CANCELLED, EXPIRED = "queued", "running", "done", "cancelled", "expired"
ACTIVE = (QUEUED, RUNNING)
STATES = (QUEUED, RUNNING, DONE, CANCELLED, EXPIRED)  # that clients see

Time = Float(53)
JobId = String(36)


class Job(Base):
    __tablename__ = "caption_jobs"
    __table_args__ = (
        UniqueConstraint("owner", "key"),
        Index("ix_caption_jobs_client", "client", "created_at"),
    )

    id: Mapped[str] = mapped_column(JobId, primary_key=True)
    owner: Mapped[str] = mapped_column(String(MAX_USERNAME))  # "": no login
    client: Mapped[str] = mapped_column(String(MAX_USERNAME), server_default="")  # owner or address, for quotas
    key: Mapped[str | None] = mapped_column(String(MAX_KEY))
    fingerprint: Mapped[str] = mapped_column(String(64))
    config: Mapped[dict[str, Any]] = mapped_column(JSON)
    state: Mapped[str] = mapped_column(String(16), index=True)
    total: Mapped[int]  # images
    size: Mapped[int] = mapped_column(BigInteger, server_default="0")  # bytes of the images
    created_at: Mapped[float] = mapped_column(Time)
    started_at: Mapped[float | None] = mapped_column(Time)
    ended_at: Mapped[float | None] = mapped_column(Time, index=True)
    webhook: Mapped[str | None] = mapped_column(String(MAX_WEBHOOK))  # URL that gets a POST when the job has ended
    webhook_attempts: Mapped[int] = mapped_column(default=0, server_default="0")
    webhook_due_at: Mapped[float | None] = mapped_column(Time, index=True)  # None: no attempt is due
    traceparent: Mapped[str | None] = mapped_column(String(trace_context.LENGTH))  # of the submitting request


class Chunk(Base):
    """Images of a job that go through the model together. Each chunk is one message and one file of the blob store."""

    __tablename__ = "caption_job_chunks"
    __table_args__ = (
        Index("ix_caption_job_chunks_waiting", "is_done", "sent_at"),
        Index("ix_caption_job_chunks_claimed", "job_id", "claimed_until"),
    )

    job_id: Mapped[str] = mapped_column(JobId, ForeignKey("caption_jobs.id"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    is_done: Mapped[bool] = mapped_column(default=False)
    sent_at: Mapped[float] = mapped_column(Time)  # time of the last message about this chunk
    is_heard: Mapped[bool] = mapped_column(default=False, server_default=false())  # a worker received that message
    claim: Mapped[str | None] = mapped_column(String(32))  # token of the last worker that claimed it
    claimed_until: Mapped[float | None] = mapped_column(Time)  # a time in the past: the chunk is free
    attempts: Mapped[int] = mapped_column(default=0)  # claims, without released ones that do not count
    delays: Mapped[int] = mapped_column(default=0)  # claims that were released


class Image(Base):
    """An image of a job. It is queued while it has neither captions nor an error, and never has both."""

    __tablename__ = "caption_job_images"

    job_id: Mapped[str] = mapped_column(JobId, ForeignKey("caption_jobs.id"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    chunk: Mapped[int]
    input: Mapped[str] = mapped_column(String(MAX_INPUT))
    captions: Mapped[list[str] | None] = mapped_column(JSON(none_as_null=True))
    error: Mapped[str | None] = mapped_column(String(MAX_ERROR))
    attempts: Mapped[int] = mapped_column(default=0)  # at this image alone
