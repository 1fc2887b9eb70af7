"""Alembic's environment: uses the connection of `upgrade`, or for `flask db` one of the application."""

from alembic import context
from flask import current_app
from sqlalchemy import Connection

from flaskapp.database import Base


def run(connection: Connection) -> None:
    context.configure(connection=connection, target_metadata=Base.metadata)
    with context.begin_transaction():
        context.run_migrations()


given = context.config.attributes.get("connection")
if given is not None:
    run(given)
else:
    with current_app.extensions["migrate"].db.migrating() as connection:
        run(connection)
