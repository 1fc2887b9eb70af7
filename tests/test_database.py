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
from tests.postgresql import PostgreSQL, database_url, postgresql, started_pgbouncer

__all__ = ["database_url", "jobs", "postgresql"]  # fixtures, and tables

# The table as created before there were migrations.
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
    assert differences == [], "the migrations create the tables of the models"
    database.close()


def test_the_logins_of_a_database_without_migrations_are_kept(database_url: str) -> None:
    execute(database_url, LOGINS, "INSERT INTO logins VALUES (1, 'ada', 'x')")
    database = Database(database_url)
    assert Accounts(database).names() == ["ada"]
    assert revision(database_url) == migrations.HEAD
    assert inspect(database.engine).has_table("caption_jobs")
    database.close()


def test_many_concurrent_first_uses_create_one_schema(database_url: str) -> None:
    databases = [Database(database_url) for _ in range(8)]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda database: Accounts(database).names(), databases)) == [[]] * 8
    assert revision(database_url) == migrations.HEAD
    for database in databases:
        database.close()


def test_a_later_version_s_schema_is_used_unchanged(database_url: str) -> None:
    first = Database(database_url)
    Accounts(first).add("ada", "correct horse")
    first.close()
    execute(database_url, "UPDATE alembic_version SET version_num = '9999'", "ALTER TABLE logins ADD note VARCHAR(9)")
    database = Database(database_url)
    Accounts(database).add("bob", "correct horse")
    assert Accounts(database).names() == ["ada", "bob"]
    assert revision(database_url) == "9999"
    database.close()


def test_an_sqlite_file_can_be_read_during_a_write(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'test.db'}")
    accounts = Accounts(database)
    accounts.add("ada", "correct horse")
    with sqlite3.connect(tmp_path / "test.db", isolation_level=None) as writer:
        assert writer.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        writer.execute("BEGIN EXCLUSIVE")
        assert accounts.names() == ["ada"]
    writer.close()
    assert {file.stat().st_mode & 0o777 for file in tmp_path.iterdir()} == {0o600}
    database.close()


def test_an_earlier_version_s_file_is_switched_to_a_write_ahead_log(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'test.db'}"
    execute(url, LOGINS, "INSERT INTO logins VALUES (1, 'ada', 'x')")
    databases = [Database(url) for _ in range(6)]
    with ThreadPoolExecutor(6) as pool:
        assert list(pool.map(lambda database: Accounts(database).names(), databases)) == [["ada"]] * 6
    with databases[0].engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
    for database in databases:
        database.close()


def test_the_options_of_an_sqlite_url_take_precedence(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'test.db'}?timeout=0.25")
    with database.session() as session:
        assert session.scalar(text("PRAGMA busy_timeout")) == 250
    database.close()


def shown(database: Database, *names: str) -> list[str | None]:
    with database.session() as session:
        return [session.scalar(text(f"SHOW {name}")) for name in names]


LIMITS = ("lock_timeout", "statement_timeout", "idle_in_transaction_session_timeout")


@pytest.mark.postgresql
def test_options_and_timeouts_in_a_postgresql_url_are_kept(postgresql: PostgreSQL) -> None:
    postgresql.empty()
    execute(postgresql.url, "CREATE SCHEMA IF NOT EXISTS elsewhere")
    options = "-csearch_path%3Delsewhere%20-c%20statement_timeout%3D7s%20--lock-timeout%3D6s"
    database = Database(f"{postgresql.url}&options={options}&connect_timeout=9")
    assert shown(database, "search_path", *LIMITS) == ["elsewhere", "6s", "7s", "10s"]
    Accounts(database).add("ada", "correct horse")
    assert inspect(database.engine).has_table("logins", schema="elsewhere")
    with database.engine.connect() as connection:
        raw = connection.connection.driver_connection
        assert raw is not None
        assert raw.info.get_parameters()["connect_timeout"] == "9"
    database.close()
    execute(postgresql.url, "DROP SCHEMA elsewhere CASCADE")


@pytest.mark.postgresql
def test_transactions_and_connections_have_limits_without_start_up_options(postgresql: PostgreSQL) -> None:
    database = Database(postgresql.url)
    for _ in range(2):  # the second time on the same connection
        assert shown(database, *LIMITS) == ["4s", "4s", "10s"]
    with database.engine.connect() as connection:
        raw = connection.connection.driver_connection
        assert raw is not None
        assert "options" not in raw.info.get_parameters()
        assert raw.prepare_threshold is None
    database.close()


@pytest.mark.postgresql
@pytest.mark.parametrize("mode", ["session", "transaction"])
def test_pgbouncer_with_its_defaults_works(postgresql: PostgreSQL, mode: str) -> None:
    postgresql.empty()
    with started_pgbouncer(postgresql, mode) as url:
        databases = [Database(url) for _ in range(3)]

        def use(number: int) -> list[str]:
            accounts = Accounts(databases[number % 3])
            for each in range(8):
                accounts.save(f"user {number}.{each}", "correct horse")
            return accounts.names()

        with ThreadPoolExecutor(6) as pool:
            list(pool.map(use, range(6)))
        assert len(Accounts(databases[0]).names()) == 48
        assert shown(databases[0], *LIMITS) == ["4s", "4s", "10s"]
        for database in databases:
            database.close()


def test_the_last_migration_is_head() -> None:
    config = Config()
    config.set_main_option("script_location", str(migrations.FOLDER))
    assert ScriptDirectory.from_config(config).get_heads() == [migrations.HEAD]


@pytest.mark.slow
def test_the_upgrade_command_runs_the_migrations_once(tmp_path: Path) -> None:
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
