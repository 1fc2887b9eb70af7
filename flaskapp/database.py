"""The database behind a URL: connections, transactions, locks, and the migration of the schema at the first use."""

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

from sqlalchemy import (
    Connection,
    CursorResult,
    Delete,
    Engine,
    MetaData,
    Update,
    create_engine,
    func,
    make_url,
    select,
    text,
)
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import DeclarativeBase, Session

from flaskapp import migrations, postgresql, sqlite
from flaskapp.errors import DatabaseUnavailable

log = logging.getLogger(__name__)

BUSY_TIMEOUT = 4.0  # seconds to wait for a lock, a server or a pooled connection
POOL_SIZE = 16  # connections; a call holds one only during its transaction
SILENT = 10  # seconds until the server drops a lost client and releases its locks
MIGRATING = 0x666C61736B  # key of PostgreSQL's advisory lock; any number


class Base(DeclarativeBase):
    pass


class Database:
    """A database. It is safe to fork before the first call, which opens it."""

    def __init__(self, url: str) -> None:
        self.engine = _create_engine(url)
        self._is_ready = False
        self._file_is_ready = False
        self._file_lock = threading.Lock()

    @property
    def metadata(self) -> MetaData:
        """The tables of the code, for Alembic."""
        return Base.metadata

    @contextmanager
    def session(self) -> Iterator[Session]:
        """Run a transaction. Raise DatabaseUnavailable if the database is locked, full or unreachable."""
        try:
            self._prepare()
            with Session(self.engine, expire_on_commit=False) as session, session.begin():
                yield session
        except IntegrityError:
            raise
        except (DBAPIError, PoolTimeout, OSError) as error:
            log.error("The database failed: %s", getattr(error, "orig", error))
            raise DatabaseUnavailable("the database cannot be used at the moment") from error

    @contextmanager
    def migrating(self) -> Iterator[Connection]:
        """Run a migration as a transaction, one at a time: a second one sees the changes of the first."""
        self._prepare_file()
        with self.engine.begin() as connection:
            match self.engine.dialect.name:
                case "sqlite":
                    connection.exec_driver_sql("BEGIN IMMEDIATE")
                case "postgresql":
                    connection.execute(text("SET LOCAL statement_timeout = 0"))
                    connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": MIGRATING})
            yield connection

    def close(self) -> None:
        """Close the pooled connections. The next call opens new ones."""
        self.engine.dispose()

    def _prepare(self) -> None:
        if self._is_ready:
            return
        self._prepare_file()
        if not migrations.is_current(self.engine):
            with self.migrating() as connection:
                migrations.upgrade(connection)
        self._is_ready = True

    def _prepare_file(self) -> None:
        if self._file_is_ready or self.engine.dialect.name != "sqlite":
            return
        with self._file_lock:
            sqlite.make_file(self.engine.url)
        sqlite.use_wal(self.engine, BUSY_TIMEOUT)
        self._file_is_ready = True


def current_time(session: Session) -> float:
    """Return seconds since 1970 by the clock of the database, because the clocks of its clients may differ."""
    if session.get_bind().dialect.name == "postgresql":
        return float(session.scalar(text("SELECT extract(epoch FROM clock_timestamp())")) or 0.0)
    return time.time()


def exclude_others(session: Session, key: int) -> None:
    """Take an exclusive lock until the end of the transaction. Call it before the transaction reads or writes."""
    match session.get_bind().dialect.name:
        case "sqlite":
            session.connection().exec_driver_sql("BEGIN IMMEDIATE")
        case "postgresql":
            session.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": key})


def wait_for_others(session: Session, key: int) -> None:
    """Take an exclusive lock until the end of a transaction that may have read. SQLite has one writer anyway."""
    if session.get_bind().dialect.name == "postgresql":
        session.execute(select(func.pg_advisory_xact_lock(key)))


def is_alone(session: Session, key: int) -> bool:
    """Try to take a lock until the end of the transaction. False: another one holds it. Always True with SQLite."""
    has_locks = session.get_bind().dialect.name == "postgresql"
    return not has_locks or bool(session.scalar(select(func.pg_try_advisory_xact_lock(key))))


def found_a_row(session: Session, statement: Update | Delete) -> bool:
    """Execute an update or a deletion. Return whether it changed a row."""
    return cast(CursorResult[Any], session.execute(statement)).rowcount > 0


def _create_engine(database_url: str) -> Engine:
    url = make_url(database_url)
    match url.get_backend_name():
        case "sqlite":
            defaults: dict[str, Any] = {"timeout": BUSY_TIMEOUT, "factory": sqlite.Connection}
        case "postgresql":
            defaults = postgresql.arguments(url, BUSY_TIMEOUT)
        case _:
            defaults = {}
    given = {name: value for name, value in defaults.items() if name not in url.query}  # the URL takes precedence
    engine = create_engine(url, pool_size=POOL_SIZE, pool_timeout=BUSY_TIMEOUT, pool_pre_ping=True, connect_args=given)
    if url.get_backend_name() == "postgresql":
        postgresql.limit(engine, BUSY_TIMEOUT, SILENT)
    return engine
