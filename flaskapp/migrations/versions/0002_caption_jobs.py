"""Caption jobs, their chunks and their images."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.create_table(
        "caption_jobs",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("owner", sa.String(150), nullable=False),
        sa.Column("key", sa.String(255)),
        sa.Column("fingerprint", sa.String(64), nullable=False),
        sa.Column("config", sa.JSON, nullable=False),
        sa.Column("state", sa.String(16), nullable=False, index=True),
        sa.Column("total", sa.Integer, nullable=False),
        sa.Column("created_at", sa.Float(53), nullable=False),
        sa.Column("started_at", sa.Float(53)),
        sa.Column("ended_at", sa.Float(53)),
        sa.UniqueConstraint("owner", "key"),
    )
    job_id = ("job_id", sa.String(36))
    op.create_table(
        "caption_job_chunks",
        sa.Column(*job_id, sa.ForeignKey("caption_jobs.id"), primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("is_done", sa.Boolean, nullable=False),
        sa.Column("sent_at", sa.Float(53), nullable=False),
        sa.Column("claim", sa.String(32)),
        sa.Column("claimed_until", sa.Float(53)),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("delays", sa.Integer, nullable=False),
    )
    op.create_index("ix_caption_job_chunks_waiting", "caption_job_chunks", ["is_done", "sent_at"])
    op.create_table(
        "caption_job_images",
        sa.Column(*job_id, sa.ForeignKey("caption_jobs.id"), primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("chunk", sa.Integer, nullable=False),
        sa.Column("input", sa.String(255), nullable=False),
        sa.Column("captions", sa.JSON),
        sa.Column("error", sa.String(255)),
        sa.Column("attempts", sa.Integer, nullable=False),
    )


def downgrade() -> None:
    for table in ("caption_job_images", "caption_job_chunks", "caption_jobs"):
        op.drop_table(table)
