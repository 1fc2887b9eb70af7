"""The distributed trace of a caption job."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    op.add_column("caption_jobs", sa.Column("traceparent", sa.String(55)))


def downgrade() -> None:
    op.drop_column("caption_jobs", "traceparent")
