"""The client of a caption job without a login, and whether a chunk's message has arrived."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.add_column("caption_jobs", sa.Column("client", sa.String(150), nullable=False, server_default=""))
    op.create_index("ix_caption_jobs_ended_at", "caption_jobs", ["ended_at"])
    op.add_column("caption_job_chunks", sa.Column("is_heard", sa.Boolean, nullable=False, server_default=sa.false()))
    op.create_index("ix_caption_job_chunks_claimed", "caption_job_chunks", ["job_id", "claimed_until"])


def downgrade() -> None:
    op.drop_index("ix_caption_job_chunks_claimed", "caption_job_chunks")
    op.drop_column("caption_job_chunks", "is_heard")
    op.drop_index("ix_caption_jobs_ended_at", "caption_jobs")
    op.drop_column("caption_jobs", "client")
