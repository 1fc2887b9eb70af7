"""An index for the list of a client's caption jobs, and webhooks."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.create_index("ix_caption_jobs_client", "caption_jobs", ["client", "created_at"])
    op.add_column("caption_jobs", sa.Column("webhook", sa.String(2048)))
    op.add_column("caption_jobs", sa.Column("webhook_attempts", sa.Integer, nullable=False, server_default="0"))
    op.add_column("caption_jobs", sa.Column("webhook_due_at", sa.Float(53)))
    op.create_index("ix_caption_jobs_webhook_due_at", "caption_jobs", ["webhook_due_at"])


def downgrade() -> None:
    op.drop_index("ix_caption_jobs_webhook_due_at", "caption_jobs")
    for column in ("webhook_due_at", "webhook_attempts", "webhook"):
        op.drop_column("caption_jobs", column)
    op.drop_index("ix_caption_jobs_client", "caption_jobs")
