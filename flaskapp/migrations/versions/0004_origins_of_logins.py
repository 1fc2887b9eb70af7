"""The origin and time of a login. Unknown for existing logins."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.add_column("logins", sa.Column("origin", sa.String(16)))
    op.add_column("logins", sa.Column("created_at", sa.Float(53)))


def downgrade() -> None:
    op.drop_column("logins", "created_at")
    op.drop_column("logins", "origin")
