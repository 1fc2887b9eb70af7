"""Migrations of the database schema (Alembic), applied on first use or by `flask --app wsgi db upgrade`.

A migration only adds tables, columns and indexes, so that the previous version can run on the new schema.
"""

import logging
from pathlib import Path

from sqlalchemy import Connection, Engine, inspect, text

log = logging.getLogger(__name__)
logging.getLogger("alembic.runtime.plugins").setLevel(logging.WARNING)  # it logs a line when it is imported

FOLDER = Path(__file__).parent
HEAD = "0008"


def is_current(engine: Engine) -> bool:
    """Return whether the schema is up to date. Does not import Alembic."""
    with engine.connect() as connection:
        return _revision(connection) == HEAD


def upgrade(connection: Connection) -> None:
    """Apply the missing migrations in the transaction of this connection."""
    from alembic import command
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", str(FOLDER))
    revision = _revision(connection)
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    if revision is not None and revision not in known:
        log.info("The database has the schema of a later version, %s, and is used without a migration", revision)
        return
    command.upgrade(config, HEAD)


def _revision(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    revision: str | None = connection.scalar(text("SELECT version_num FROM alembic_version"))
    return revision
