"""API tokens: one row for each, with the SHA-256 hash of the token.

A slow hash such as argon2 is not needed: unlike a password, a token of 256 random bits cannot be guessed.
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

PREFIX = "flaskapp_"  # for secret scanners: `flaskapp_[A-Za-z0-9_-]{43}`
BYTES = 32

WRONG_TOKEN = "the API token is unknown, revoked or expired"

# Usernames of HTTP Basic have no colon (RFC 7617), so no login has the name of a token's owner.
OWNER = "token:"
MAX_NAME = MAX_USERNAME - len(OWNER)  # characters; columns for owners have the size of usernames


class Token(Base):
    __tablename__ = "tokens"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(MAX_NAME), unique=True)
    hash: Mapped[str] = mapped_column(String(64), unique=True)  # SHA-256 in hexadecimal
    created_at: Mapped[float] = mapped_column(Float(53))  # seconds since 1970
    expires_at: Mapped[float | None] = mapped_column(Float(53))  # seconds since 1970; None: never


class SavedToken(NamedTuple):
    """A saved token, without its hash."""

    name: str
    created_at: float
    expires_at: float | None


class Tokens:
    """The API tokens of a database. It is safe to fork before the first call, which opens the database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def create(self, name: str, expires_at: float | None = None) -> str:
        """Make a token, save its hash, and return the token. Raise TokenExists if the name is taken."""
        token = PREFIX + secrets.token_urlsafe(BYTES)
        new = Token(name=name, hash=_hash(token), created_at=time.time(), expires_at=expires_at)
        try:
            with self._database.session() as session:
                session.add(new)
        except IntegrityError as error:
            raise TokenExists(f"there is a token {name!r} already") from error
        return token

    def check(self, token: str) -> str:
        """Return the name of a token. Raise WrongToken if it is unknown, revoked or expired."""
        columns = select(Token.name, Token.expires_at).where(Token.hash == _hash(token))
        with self._database.session() as session:
            found = session.execute(columns).one_or_none()
        if found is None or (found.expires_at is not None and found.expires_at <= time.time()):
            raise WrongToken(WRONG_TOKEN)
        name: str = found.name
        return name

    def saved(self) -> Sequence[SavedToken]:
        """Return all tokens, sorted by name."""
        columns = select(Token.name, Token.created_at, Token.expires_at)
        with self._database.session() as session:
            return sorted(SavedToken(*row) for row in session.execute(columns))

    def revoke(self, name: str) -> None:
        """Delete a token: it is rejected from now on. Raise UnknownToken if the name is unknown."""
        with self._database.session() as session:
            if not found_a_row(session, delete(Token).where(Token.name == name)):
                raise UnknownToken(f"there is no token {name!r}")


def owner(name: str) -> str:
    """Return the owner of the jobs of a client with this token. It equals no username."""
    return OWNER + name


def _hash(token: str) -> str:
    """Hash any text of a header, including unpaired surrogates."""
    return hashlib.sha256(token.encode(errors="surrogatepass")).hexdigest()
