import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, inspect, text

from flaskapp import jobs, migrations
from flaskapp.accounts import Accounts
from flaskapp.database import Database
from tests.conftest import ROOT, clean_environment
from tests.postgresql import database_url, postgresql

__all__ = ["database_url", "jobs", "postgresql"]  # fixtures, and tables

# As the version before there were migrations made it.
LOGINS = "CREATE TABLE logins (id INTEGER PRIMARY KEY, username VARCHAR(150) UNIQUE, password_hash VARCHAR(255))"


def execute(url: str, *statements: str) -> None:
    engine = create_engine(url)
    with engine.begin() as connection:
        for statement in statements:
            connection.execute(text(statement))
    engine.dispose()


def revision(url: str) -> str | None:
    engine = create_engine(url)
    with engine.connect() as connection:
        found: str | None = connection.scalar(text("SELECT version_num FROM alembic_version"))
    engine.dispose()
    return found


def test_a_new_database_gets_the_schema_on_first_use(database_url: str) -> None:
    database = Database(database_url)
    Accounts(database).add("ada", "correct horse")
    assert revision(database_url) == migrations.HEAD
    with database.engine.connect() as connection:
        differences = compare_metadata(MigrationContext.configure(connection), database.metadata)
    assert differences == [], "the steps make what the tables say"
    database.close()


def test_the_logins_of_a_database_without_migrations_are_kept(database_url: str) -> None:
    execute(database_url, LOGINS, "INSERT INTO logins VALUES (1, 'ada', 'x')")
    database = Database(database_url)
    assert Accounts(database).names() == ["ada"]
    assert revision(database_url) == migrations.HEAD
    assert inspect(database.engine).has_table("caption_jobs")
    database.close()


def test_many_who_come_first_at_once_make_one_schema(database_url: str) -> None:
    databases = [Database(database_url) for _ in range(8)]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda database: Accounts(database).names(), databases)) == [[]] * 8
    assert revision(database_url) == migrations.HEAD
    for database in databases:
        database.close()


def test_the_schema_of_a_later_version_is_used_as_it_is(database_url: str) -> None:
    first = Database(database_url)
    Accounts(first).add("ada", "correct horse")
    first.close()
    execute(database_url, "UPDATE alembic_version SET version_num = '9999'", "ALTER TABLE logins ADD note VARCHAR(9)")
    database = Database(database_url)
    Accounts(database).add("bob", "correct horse")
    assert Accounts(database).names() == ["ada", "bob"]
    assert revision(database_url) == "9999"
    database.close()


def test_the_last_step_is_the_one_that_the_code_wants() -> None:
    config = Config()
    config.set_main_option("script_location", str(migrations.FOLDER))
    assert ScriptDirectory.from_config(config).get_heads() == [migrations.HEAD]


@pytest.mark.slow
def test_the_command_takes_the_same_steps_once(tmp_path: Path) -> None:
    environment = clean_environment() | {"FLASKAPP_DATABASE_URL": f"sqlite:///{tmp_path / 'new.db'}"}
    for _ in range(2):
        subprocess.run(
            [Path(sys.executable).with_name("flask"), "--app", "wsgi", "db", "upgrade"],
            cwd=ROOT, env=environment, check=True, capture_output=True, timeout=120,
        )  # fmt: skip
    with sqlite3.connect(tmp_path / "new.db") as connection:
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        assert tables >= {"alembic_version", "logins", "caption_jobs"}
    connection.close()
    assert (tmp_path / "new.db").stat().st_mode & 0o777 == 0o600
