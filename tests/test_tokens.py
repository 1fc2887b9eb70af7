import hashlib
import re
import time
from collections.abc import Callable, Iterator

import pytest
from sqlalchemy import create_engine, text

from flaskapp import tokens
from flaskapp.database import Database
from flaskapp.errors import TokenExists, UnknownToken, WrongToken
from flaskapp.tokens import MAX_NAME, SavedToken, Tokens
from tests.postgresql import database_url, postgresql

__all__ = ["database_url", "postgresql"]  # fixtures


@pytest.fixture
def open_tokens(database_url: str) -> Iterator[Callable[[], Tokens]]:
    databases: list[Database] = []

    def open_again() -> Tokens:
        databases.append(Database(database_url))
        return Tokens(databases[-1])

    yield open_again
    for database in databases:
        database.close()


@pytest.fixture
def saved_tokens(open_tokens: Callable[[], Tokens]) -> Tokens:
    return open_tokens()


def test_every_process_accepts_a_token(open_tokens: Callable[[], Tokens]) -> None:
    token = open_tokens().create("ci")
    assert open_tokens().check(token) == "ci"


def test_a_token_has_256_random_bits_and_a_prefix_for_secret_scanners(saved_tokens: Tokens) -> None:
    made = {saved_tokens.create(f"token {number}") for number in range(20)}
    assert len(made) == 20
    assert all(re.fullmatch("flaskapp_[A-Za-z0-9_-]{43}", token) for token in made)


def test_only_the_hash_of_a_token_is_stored(saved_tokens: Tokens, database_url: str) -> None:
    token = saved_tokens.create("ci")
    engine = create_engine(database_url)
    with engine.connect() as connection:
        (row,) = connection.execute(text("SELECT * FROM tokens")).mappings()
    engine.dispose()
    assert row["hash"] == hashlib.sha256(token.encode()).hexdigest()
    assert token.removeprefix("flaskapp_") not in str(dict(row))


@pytest.mark.parametrize(
    "wrong", ["", "flaskapp_", "ci", "a\0b", "\udcff", "пароль 🔑", "x" * 100_000, "'; DROP TABLE tokens; --"]
)
def test_an_invalid_token_is_refused(saved_tokens: Tokens, wrong: str) -> None:
    token = saved_tokens.create("ci")
    for each in (wrong, token + wrong if wrong else token[:-1], token.upper()):
        with pytest.raises(WrongToken) as refused:
            saved_tokens.check(each)
        assert token not in str(refused.value)
    assert saved_tokens.check(token) == "ci"


def test_a_token_is_refused_once_it_has_expired(saved_tokens: Tokens, monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.time()
    token = saved_tokens.create("ci", expires_at=now + 60)
    assert saved_tokens.check(token) == "ci"
    monkeypatch.setattr(tokens.time, "time", lambda: now + 60)
    with pytest.raises(WrongToken):
        saved_tokens.check(token)


def test_a_revoked_token_is_refused_everywhere_at_once(open_tokens: Callable[[], Tokens]) -> None:
    here, elsewhere = open_tokens(), open_tokens()
    token, other = here.create("ci"), here.create("laptop")
    assert elsewhere.check(token) == "ci"
    here.revoke("ci")
    with pytest.raises(WrongToken):
        elsewhere.check(token)
    assert elsewhere.check(other) == "laptop"
    with pytest.raises(UnknownToken, match="there is no token 'ci'"):
        here.revoke("ci")


def test_a_name_is_unique_and_reusable_after_a_revocation(saved_tokens: Tokens) -> None:
    first = saved_tokens.create("ci")
    with pytest.raises(TokenExists, match="there is a token 'ci' already"):
        saved_tokens.create("ci")
    assert saved_tokens.check(first) == "ci"
    saved_tokens.revoke("ci")
    second = saved_tokens.create("ci")
    assert saved_tokens.check(second) == "ci"
    with pytest.raises(WrongToken):
        saved_tokens.check(first)


def test_tokens_are_listed_by_name_without_their_text(saved_tokens: Tokens) -> None:
    before = time.time()
    made = [saved_tokens.create("laptop"), saved_tokens.create("ci", expires_at=before + 60)]
    listed = saved_tokens.saved()
    assert [(token.name, token.expires_at) for token in listed] == [("ci", before + 60), ("laptop", None)]
    assert all(isinstance(token, SavedToken) and before <= token.created_at <= time.time() for token in listed)
    assert not [token for token in made if token.removeprefix("flaskapp_") in str(listed)]


def test_the_owner_of_the_longest_token_name_fits_into_the_column_of_usernames(saved_tokens: Tokens) -> None:
    name = "ü" * MAX_NAME
    assert saved_tokens.check(saved_tokens.create(name)) == name
    assert tokens.owner(name) == f"token:{name}"
    assert len(tokens.owner(name)) == 150
