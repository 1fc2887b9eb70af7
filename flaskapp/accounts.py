"""Saved logins: one row for each user, with the argon2id hash of the password, in any database of SQLAlchemy."""

import logging
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from sqlalchemy import Float, String, delete, func, or_, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Mapped, Session, mapped_column

from flaskapp import passwords
from flaskapp.database import Base, Database
from flaskapp.errors import DatabaseUnavailable, UnknownUsername, UsernameTaken, WrongPassword
from flaskapp.login_cache import LoginCache

log = logging.getLogger(__name__)

MAX_USERNAME = 150  # characters
MAX_PASSWORD = 1024  # characters

WRONG_PAIR = "wrong username or password"

REGISTERED = "registered"  # by a client, at /login/
ADDED = "added"  # by an operator, at the command line
UNKNOWN = "unknown"  # by a version without origins
ORIGINS = (REGISTERED, ADDED, UNKNOWN)


class Login(Base):
    __tablename__ = "logins"

    id: Mapped[int] = mapped_column(primary_key=True)
    username: Mapped[str] = mapped_column(String(MAX_USERNAME), unique=True)
    password_hash: Mapped[str] = mapped_column(String(255))
    origin: Mapped[str | None] = mapped_column(String(16))  # None is UNKNOWN
    created_at: Mapped[float | None] = mapped_column(Float(53))  # seconds since 1970


class Saved(NamedTuple):
    """A saved login, without its password."""

    username: str
    origin: str
    created_at: float | None


class Unvetted(NamedTuple):
    """Counts of the logins that no operator added, by origin. `since` is the first known time."""

    registered: int
    unknown: int
    since: float | None


class Accounts:
    """The saved logins of a database. It is safe to fork before the first call, which opens the database."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._login_cache = LoginCache()

    def save(self, username: str, password: str) -> None:
        """Save a new login, or check the password of a saved one.

        Of two simultaneous requests with one name, the unique constraint admits one. Raise WrongPassword for a saved
        name with another password, and DatabaseUnavailable.
        """
        known_hash = self._find_hash(username)
        if known_hash is None:
            try:
                self.add(username, password, REGISTERED)
                return
            except UsernameTaken:  # another request saved this name at the same time
                known_hash = self._find_hash(username)
        if known_hash is None or not passwords.is_hash_of(known_hash, password):
            raise WrongPassword("this username is saved with another password")

    def check(self, username: str, password: str) -> None:
        """Check a login, and save nothing.

        Raise WrongPassword, with the same message and after the same time for a saved and an unknown name.
        """
        if not _may_be_saved(username, password):
            raise WrongPassword(WRONG_PAIR)
        known_hash = self._find_hash(username)
        if not passwords.is_hash_of(known_hash or passwords.DUMMY_HASH, password) or known_hash is None:
            raise WrongPassword(WRONG_PAIR)

    def remember(self, client: str, username: str, password: str) -> None:
        """Accept this login from this client without a check for a while."""
        self._login_cache.add(client, username, password)

    def remembers(self, client: str, username: str, password: str) -> bool:
        """Whether this process accepted this login from this client recently."""
        return (client, username, password) in self._login_cache

    def add(self, username: str, password: str, origin: str | None = ADDED) -> None:
        """Save a new login. Raise UsernameTaken if the name is saved already."""
        new = Login(username=username, password_hash=passwords.hash_of(password), origin=origin, created_at=time.time())
        try:
            with self._database.session() as session:
                session.add(new)
        except IntegrityError as error:
            raise UsernameTaken(f"{username!r} is saved already") from error

    def replace(self, username: str, password: str) -> None:
        """Set another password; the origin becomes ADDED. Raise UnknownUsername if the name is not saved."""
        new_hash = passwords.hash_of(password)
        with self._database.session() as session:
            login = _find(session, username)
            login.password_hash, login.origin = new_hash, ADDED

    def remove(self, username: str) -> None:
        """Delete a login. Raise UnknownUsername if the name is not saved."""
        with self._database.session() as session:
            session.delete(_find(session, username))

    def remove_all(self, origin: str) -> list[str]:
        """Delete all logins of an origin. Return their names, sorted."""
        chosen = Login.origin.is_(None) if origin == UNKNOWN else Login.origin == origin
        with self._database.session() as session:
            names = sorted(session.scalars(select(Login.username).where(chosen)))
            session.execute(delete(Login).where(Login.username.in_(names)))
            return names

    def saved(self) -> Sequence[Saved]:
        """Return all logins, sorted by name."""
        columns = select(Login.username, Login.origin, Login.created_at)
        with self._database.session() as session:
            rows = session.execute(columns).all()
        return sorted(Saved(name, origin or UNKNOWN, created_at) for name, origin, created_at in rows)

    def unvetted(self) -> Unvetted:
        """Count the logins that clients registered or may have registered."""
        counts = select(
            func.count(Login.origin), func.count(Login.id) - func.count(Login.origin), func.min(Login.created_at)
        ).where(or_(Login.origin.is_(None), Login.origin == REGISTERED))
        with self._database.session() as session:
            return Unvetted(*session.execute(counts).one())

    def names(self) -> list[str]:
        """Return all saved usernames, sorted."""
        with self._database.session() as session:
            return sorted(session.scalars(select(Login.username)))

    def check_database(self) -> None:
        """Raise DatabaseUnavailable if logins cannot be looked up."""
        with self._database.session() as session:
            session.scalar(select(Login.id).limit(1))

    def _find_hash(self, username: str) -> str | None:
        with self._database.session() as session:
            return session.scalar(select(Login.password_hash).where(Login.username == username))

    def close(self) -> None:
        """Close the pooled connections."""
        self._database.close()


def warn_of_unvetted(config: Mapping[str, Any], accounts: Accounts) -> None:
    """Log a warning if logins are required and registration is closed, but clients registered logins before."""
    if not config["REQUIRE_LOGIN"] or config["REGISTRATION"] != "closed":
        return
    try:
        registered, unknown, since = accounts.unvetted()
    except DatabaseUnavailable:
        log.warning("Registered logins could not be counted: the database cannot be used at the moment")
        return
    if not registered + unknown:
        return
    when = "" if since is None else f" The first was saved at {datetime.fromtimestamp(since, UTC):%Y-%m-%d %H:%M} UTC."
    log.warning(
        "%d saved logins were registered while registration was open, and %d are of unknown origin."
        " All of them are let in.%s See them with `flask --app wsgi users list`. Remove them with"
        " `flask --app wsgi users remove --registered` and `--unknown`. Keep one by giving it a password with"
        " `flask --app wsgi users add --replace NAME`",
        registered, unknown, when,
    )  # fmt: skip


def _find(session: Session, username: str) -> Login:
    login = session.scalar(select(Login).where(Login.username == username))
    if login is None:
        raise UnknownUsername(f"{username!r} is not saved")
    return login


def _may_be_saved(username: str, password: str) -> bool:
    """Whether a login can be saved at all. Databases reject a NUL; long passwords must not cost a hash."""
    return 0 < len(username) <= MAX_USERNAME and "\0" not in username and len(password) <= MAX_PASSWORD
