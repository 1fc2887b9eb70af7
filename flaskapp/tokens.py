"""API tokens: one row each, the token as its SHA-256 hash.

argon2 slows down guesses of passwords that people choose. A token is 256 random bits: no hash is too fast for it.
"""

import hashlib
import secrets
import time
from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import Float, String, delete, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Mapped, mapped_column

from flaskapp.accounts import MAX_USERNAME
from flaskapp.database import Base, Database, found_a_row
from flaskapp.errors import TokenExists, UnknownToken, WrongToken

PREFIX = "flaskapp_"  # secret scanners find `flaskapp_[A-Za-z0-9_-]{43}`
BYTES = 32

WRONG_TOKEN = "the API token is unknown, revoked or expired"

# No username of HTTP Basic has a colon (RFC 7617), so no login has the owner of a token.
OWNER = "token:"
MAX_NAME = MAX_USERNAME - len(OWNER)  # characters: an owner is stored like a username


class Token(Base):
    __tablename__ = "tokens"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(MAX_NAME), unique=True)
    hash: Mapped[str] = mapped_column(String(64), unique=True)  # SHA-256 in hexadecimal
    created_at: Mapped[float] = mapped_column(Float(53))  # this and the next, seconds since 1970
    expires_at: Mapped[float | None] = mapped_column(Float(53))  # None: never


class SavedToken(NamedTuple):
    """What is known of a token."""

    name: str
    created_at: float
    expires_at: float | None


class Tokens:
    """The API tokens in one database. Nothing is opened before the first call, so they may cross a fork."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def create(self, name: str, expires_at: float | None = None) -> str:
        """Save a new token and return it: only its hash is kept. Raises TokenExists where one has this name."""
        token = PREFIX + secrets.token_urlsafe(BYTES)
        new = Token(name=name, hash=_hash(token), created_at=time.time(), expires_at=expires_at)
        try:
            with self._database.session() as session:
                session.add(new)
        except IntegrityError as error:
            raise TokenExists(f"there is a token {name!r} already") from error
        return token

    def check(self, token: str) -> str:
        """Return the name of a token. Raises WrongToken for one that is unknown, revoked or expired."""
        columns = select(Token.name, Token.expires_at).where(Token.hash == _hash(token))
        with self._database.session() as session:
            found = session.execute(columns).one_or_none()
        if found is None or (found.expires_at is not None and found.expires_at <= time.time()):
            raise WrongToken(WRONG_TOKEN)
        name: str = found.name
        return name

    def saved(self) -> Sequence[SavedToken]:
        """All tokens, sorted by name."""
        columns = select(Token.name, Token.created_at, Token.expires_at)
        with self._database.session() as session:
            return sorted(SavedToken(*row) for row in session.execute(columns))

    def revoke(self, name: str) -> None:
        """Forget a token: it is refused from now on. Raises UnknownToken where there is none."""
        with self._database.session() as session:
            if not found_a_row(session, delete(Token).where(Token.name == name)):
                raise UnknownToken(f"there is no token {name!r}")


def owner(name: str) -> str:
    """The owner of what a client with this token makes. It equals no username."""
    return OWNER + name


def _hash(token: str) -> str:
    """Of any text that a header can hold, also of half a surrogate pair."""
    return hashlib.sha256(token.encode(errors="surrogatepass")).hexdigest()
