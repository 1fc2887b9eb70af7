"""The schema, step by step (Alembic): each database is brought to it on first use, or by `flask --app wsgi db upgrade`.

A step only adds. So the version before goes on beside this one, on a database that is ahead of it.
"""

import logging
from pathlib import Path

from sqlalchemy import Connection, Engine, inspect, text

log = logging.getLogger(__name__)
logging.getLogger("alembic.runtime.plugins").setLevel(logging.WARNING)  # or it writes a line at its import

FOLDER = Path(__file__).parent
HEAD = "0008"


def is_current(engine: Engine) -> bool:
    """Whether nothing is to be done. Alembic itself is imported only where something is."""
    with engine.connect() as connection:
        return _revision(connection) == HEAD


def upgrade(connection: Connection) -> None:
    """Take the steps that are missing, in the transaction of this connection."""
    from alembic import command
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", str(FOLDER))
    revision = _revision(connection)
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    if revision is not None and revision not in known:
        log.info("The database has the schema of a later version, %s: it is used as it is", revision)
        return
    command.upgrade(config, HEAD)


def _revision(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    revision: str | None = connection.scalar(text("SELECT version_num FROM alembic_version"))
    return revision
