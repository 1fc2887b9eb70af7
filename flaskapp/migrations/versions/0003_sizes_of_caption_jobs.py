"""Bytes of a caption job in the blob store. Existing jobs count as 0."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.add_column("caption_jobs", sa.Column("size", sa.BigInteger, nullable=False, server_default="0"))


def downgrade() -> None:
    op.drop_column("caption_jobs", "size")
