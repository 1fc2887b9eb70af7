"""Saved logins: one row a user, the password as an argon2id hash, in SQLite or any database that SQLAlchemy speaks."""

import logging
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Engine, String, create_engine, inspect, make_url, select
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column
from sqlalchemy.schema import CreateTable

from flaskapp import passwords
from flaskapp.errors import DatabaseUnavailable, UnknownUsername, UsernameTaken, WrongPassword
from flaskapp.remembered import RememberedLogins

log = logging.getLogger(__name__)

MAX_USERNAME = 150  # characters
MAX_PASSWORD = 1024  # characters
BUSY_TIMEOUT = 4.0  # seconds that a call waits for a lock, for a server, or for a connection of the pool
POOL = 16  # connections; a call has one while it asks the database, not while it hashes

WRONG_PAIR = "wrong username or password"


class Base(DeclarativeBase):
    pass


class Login(Base):
    __tablename__ = "logins"

    id: Mapped[int] = mapped_column(primary_key=True)
    username: Mapped[str] = mapped_column(String(MAX_USERNAME), unique=True)
    password_hash: Mapped[str] = mapped_column(String(255))


class Accounts:
    """The saved logins behind one database URL. Nothing is opened before the first call, so it may cross a fork."""

    def __init__(self, database_url: str) -> None:
        self._engine = _create_engine(database_url)
        self._file_is_ready = False
        self._file_lock = threading.Lock()
        self._table_exists = False
        self._remembered = RememberedLogins()

    def save(self, username: str, password: str) -> None:
        """Save a new login, or check the password of one that is saved.

        The unique constraint decides between two that arrive together.

        Raises WrongPassword for a known name with another password, DatabaseUnavailable when nothing could be saved.
        """
        known_hash = self._find_hash(username)
        if known_hash is None:
            try:
                self.add(username, password)
                return
            except UsernameTaken:  # somebody saved this name since we looked
                known_hash = self._find_hash(username)
        if known_hash is None or not passwords.is_hash_of(known_hash, password):
            raise WrongPassword("this username is saved with another password")

    def check(self, username: str, password: str) -> None:
        """Check a pair that anybody may have made up, and save nothing.

        Raises WrongPassword, in the same words and after the same time whether the name is saved or not.
        """
        if not _may_be_saved(username, password):
            raise WrongPassword(WRONG_PAIR)
        known_hash = self._find_hash(username)
        if not passwords.is_hash_of(known_hash or passwords.NOBODY, password) or known_hash is None:
            raise WrongPassword(WRONG_PAIR)
        self._remembered.add(username, password)

    def remembers(self, username: str, password: str) -> bool:
        """Whether this process found this pair right a moment ago."""
        return (username, password) in self._remembered

    def add(self, username: str, password: str) -> None:
        """Save a new login. Raises UsernameTaken where one with this name is saved."""
        new = Login(username=username, password_hash=passwords.hash_of(password))
        try:
            with self._session() as session:
                session.add(new)
        except IntegrityError as error:
            raise UsernameTaken(f"{username!r} is saved already") from error

    def replace(self, username: str, password: str) -> None:
        """Give a saved login another password. Raises UnknownUsername where there is none."""
        new_hash = passwords.hash_of(password)
        with self._session() as session:
            _find(session, username).password_hash = new_hash

    def remove(self, username: str) -> None:
        """Forget a login. Raises UnknownUsername where there is none."""
        with self._session() as session:
            session.delete(_find(session, username))

    def names(self) -> list[str]:
        """All saved usernames, sorted."""
        with self._session() as session:
            return sorted(session.scalars(select(Login.username)))

    def check_database(self) -> None:
        """Raises DatabaseUnavailable where logins could not be looked up."""
        with self._session() as session:
            session.scalar(select(Login.id).limit(1))

    def _find_hash(self, username: str) -> str | None:
        with self._session() as session:
            return session.scalar(select(Login.password_hash).where(Login.username == username))

    @contextmanager
    def _session(self) -> Iterator[Session]:
        """One transaction. A database that is locked, full or gone becomes DatabaseUnavailable."""
        try:
            self._create_table()
            with Session(self._engine) as session, session.begin():
                yield session
        except IntegrityError:
            raise
        except (DBAPIError, PoolTimeout, OSError) as error:
            log.error("The database failed: %s", getattr(error, "orig", error))
            raise DatabaseUnavailable("the database cannot be used at the moment") from error

    def _create_table(self) -> None:
        if self._table_exists:
            return
        with self._file_lock:
            if not self._file_is_ready:
                _prepare_file(self._engine.url)
                self._file_is_ready = True
        try:
            with self._engine.begin() as connection:
                connection.execute(CreateTable(Login.metadata.tables["logins"], if_not_exists=True))
        except DBAPIError:  # PostgreSQL refuses one of two that find it missing at once
            if not inspect(self._engine).has_table("logins"):
                raise
        self._table_exists = True

    def close(self) -> None:
        """Close the pooled connections."""
        self._engine.dispose()


def _find(session: Session, username: str) -> Login:
    login = session.scalar(select(Login).where(Login.username == username))
    if login is None:
        raise UnknownUsername(f"{username!r} is not saved")
    return login


def _may_be_saved(username: str, password: str) -> bool:
    """Whether a pair can be one of ours at all. Databases do not take a NUL; who is too long costs no hash."""
    return 0 < len(username) <= MAX_USERNAME and "\0" not in username and len(password) <= MAX_PASSWORD


def _create_engine(database_url: str) -> Engine:
    match make_url(database_url).get_backend_name():
        case "sqlite":
            # Its own journal, not WAL: two processes that switch a new file to WAL at once do not wait for each other.
            connect_args: dict[str, Any] = {"timeout": BUSY_TIMEOUT}
        case "postgresql":
            limit = int(BUSY_TIMEOUT * 1000)
            options = f"-c lock_timeout={limit} -c statement_timeout={limit}"
            connect_args = {"connect_timeout": int(BUSY_TIMEOUT), "options": options}
        case _:
            connect_args = {}
    return create_engine(
        database_url, pool_size=POOL, pool_timeout=BUSY_TIMEOUT, pool_pre_ping=True, connect_args=connect_args
    )


def _prepare_file(url: URL) -> None:
    """Make an SQLite file that nobody else can read; SQLite gives its journal the same mode.

    Before this process opens it: closing a file would drop the locks that SQLite has on it.
    """
    if url.get_backend_name() == "sqlite" and url.database:
        path = Path(url.database)
        path.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
