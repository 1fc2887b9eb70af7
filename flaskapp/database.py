"""One database behind a URL: its connections, its transactions, and the schema that it is brought to on first use."""

import logging
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

from sqlalchemy import (
    URL,
    Connection,
    CursorResult,
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

from flaskapp import migrations
from flaskapp.errors import DatabaseUnavailable

log = logging.getLogger(__name__)

BUSY_TIMEOUT = 4.0  # seconds that a call waits for a lock, for a server, or for a connection of the pool
POOL = 16  # connections; a call has one while it asks the database, not while it does something else
SILENT = 10  # seconds after which the server gives up a client that fell silent, and takes its locks from it
MIGRATING = 0x666C61736B  # any number: the key of PostgreSQL's lock


class Base(DeclarativeBase):
    pass


class Database:
    """Nothing is opened before the first call, so it may cross a fork."""

    def __init__(self, url: str) -> None:
        self.engine = _create_engine(url)
        self._is_ready = False
        self._file_is_ready = False
        self._file_lock = threading.Lock()

    @property
    def metadata(self) -> MetaData:
        """The tables as the code has them, for Alembic."""
        return Base.metadata

    @contextmanager
    def session(self) -> Iterator[Session]:
        """One transaction. A database that is locked, full or gone becomes DatabaseUnavailable."""
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
        """One transaction that nobody else's of this kind meets: who comes second finds the first one's work."""
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
        """Close the pooled connections. The next call opens others."""
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
        with self._file_lock:
            if not self._file_is_ready:
                _prepare_file(self.engine.url)
                self._file_is_ready = True


def current_time(session: Session) -> float:
    """Seconds since 1970 by the database's clock: those of its clients differ. SQLite's is this machine's."""
    if session.get_bind().dialect.name == "postgresql":
        return float(session.scalar(text("SELECT extract(epoch FROM clock_timestamp())")) or 0.0)
    return time.time()


def exclude_others(session: Session, key: int) -> None:
    """Until the end of the transaction, which must not have begun to write, let no other pass here with this key."""
    match session.get_bind().dialect.name:
        case "sqlite":
            session.connection().exec_driver_sql("BEGIN IMMEDIATE")
        case "postgresql":
            session.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": key})


def is_alone(session: Session, key: int) -> bool:
    """Whether no other transaction is in a section with this key, on PostgreSQL; until its end, none gets in."""
    has_locks = session.get_bind().dialect.name == "postgresql"
    return not has_locks or bool(session.scalar(select(func.pg_try_advisory_xact_lock(key))))


def found_a_row(session: Session, statement: Update) -> bool:
    """Execute an update, and tell whether there was a row for it."""
    return cast(CursorResult[Any], session.execute(statement)).rowcount > 0


def _create_engine(database_url: str) -> Engine:
    match make_url(database_url).get_backend_name():
        case "sqlite":
            # Its own journal, not WAL: two processes that switch a new file to WAL at once do not wait for each other.
            connect_args: dict[str, Any] = {"timeout": BUSY_TIMEOUT}
        case "postgresql":
            connect_args = _postgresql_limits()
        case _:
            connect_args = {}
    return create_engine(
        database_url, pool_size=POOL, pool_timeout=BUSY_TIMEOUT, pool_pre_ping=True, connect_args=connect_args
    )


def _postgresql_limits() -> dict[str, Any]:
    """Limits on both sides: a machine that is cut off from the other gets no error from the network, but silence."""
    patience, silent = int(BUSY_TIMEOUT * 1000), SILENT * 1000  # milliseconds
    of_server = {
        "lock_timeout": patience,
        "statement_timeout": patience,
        "idle_in_transaction_session_timeout": silent,
        "tcp_user_timeout": silent,
        "tcp_keepalives_idle": SILENT,
        "tcp_keepalives_interval": SILENT // 2,
        "tcp_keepalives_count": 2,
    }
    of_client = {
        "connect_timeout": int(BUSY_TIMEOUT),
        "tcp_user_timeout": patience,
        "keepalives_idle": int(BUSY_TIMEOUT),
        "keepalives_interval": 1,
        "keepalives_count": 2,
    }
    return of_client | {"options": " ".join(f"-c {name}={value}" for name, value in of_server.items())}


def _prepare_file(url: URL) -> None:
    """Make an SQLite file that nobody else can read; SQLite gives its journal the same mode.

    Before this process opens it: closing a file would drop the locks that SQLite has on it.
    """
    if url.get_backend_name() == "sqlite" and url.database:
        path = Path(url.database)
        path.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
