import sqlite3
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from flaskapp import database
from flaskapp.accounts import Accounts
from flaskapp.database import Database
from flaskapp.errors import DatabaseUnavailable, UnknownUsername, UsernameTaken, WrongPassword
from tests.postgresql import PostgreSQL, database_url, postgresql

__all__ = ["database_url", "postgresql"]  # fixtures

PASSWORD = "correct horse battery staple"


@pytest.fixture
def open_accounts(database_url: str) -> Iterator[Callable[[], Accounts]]:
    opened: list[Accounts] = []

    def open_again() -> Accounts:
        opened.append(Accounts(Database(database_url)))
        return opened[-1]

    yield open_again
    for each in opened:
        each.close()


def rows(database_url: str) -> list[tuple[str, str]]:
    engine = create_engine(database_url)
    with engine.connect() as connection:
        found = [(row.username, row.password_hash) for row in connection.execute(text("SELECT * FROM logins"))]
    engine.dispose()
    return found


def test_a_login_is_saved_once_and_recognised(open_accounts: Callable[[], Accounts], database_url: str) -> None:
    open_accounts().save("ada", PASSWORD)
    open_accounts().save("ada", PASSWORD)
    assert [name for name, _ in rows(database_url)] == ["ada"]


def test_another_password_for_a_known_name_is_refused_and_changes_nothing(
    open_accounts: Callable[[], Accounts], database_url: str
) -> None:
    open_accounts().save("ada", PASSWORD)
    before = rows(database_url)
    with pytest.raises(WrongPassword):
        open_accounts().save("ada", "another")
    assert rows(database_url) == before


def test_two_users_may_share_a_password_and_their_hashes_differ(
    open_accounts: Callable[[], Accounts], database_url: str
) -> None:
    both = open_accounts()
    both.save("ada", PASSWORD)
    both.save("grace", PASSWORD)
    hashes = dict(rows(database_url))
    assert hashes.keys() == {"ada", "grace"}
    assert hashes["ada"] != hashes["grace"]


def test_only_an_argon2id_hash_is_kept(open_accounts: Callable[[], Accounts], database_url: str) -> None:
    open_accounts().save("ada", PASSWORD)
    ((_, password_hash),) = rows(database_url)
    assert password_hash.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    assert PASSWORD not in password_hash


def test_many_concurrent_saves_of_one_name_create_one_row(
    open_accounts: Callable[[], Accounts], database_url: str
) -> None:
    processes = [open_accounts() for _ in range(4)]

    def save(number: int) -> bool:
        try:
            processes[number % 4].save("ada", f"password {number % 2}")
        except WrongPassword:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        saved = list(pool.map(save, range(40)))
    assert [name for name, _ in rows(database_url)] == ["ada"]
    assert saved in ([True, False] * 20, [False, True] * 20), "all saves of one password succeed and none of the other"


@pytest.mark.parametrize("password", ["x" * 1024, "пароль 密码 🔑", " spaces count "])
def test_long_and_non_ascii_passwords_are_saved_completely(
    open_accounts: Callable[[], Accounts], password: str
) -> None:
    known = open_accounts()
    known.save("ada", password)
    known.save("ada", password)
    with pytest.raises(WrongPassword):
        known.save("ada", password[:-1])


def test_a_check_saves_nothing_and_does_not_reveal_unknown_names(
    open_accounts: Callable[[], Accounts], database_url: str
) -> None:
    known = open_accounts()
    known.save("ada", PASSWORD)
    known.check("ada", PASSWORD)
    messages = set()
    for username, password in (("ada", "wrong"), ("bob", PASSWORD), ("a\0b", PASSWORD), ("ada", "x" * 1025), ("", "")):
        with pytest.raises(WrongPassword) as caught:
            known.check(username, password)
        messages.add(str(caught.value))
    assert messages == {"wrong username or password"}
    assert [name for name, _ in rows(database_url)] == ["ada"]


def test_a_login_is_remembered_only_for_its_client(open_accounts: Callable[[], Accounts]) -> None:
    known = open_accounts()
    assert not known.remembers("10.0.0.1", "ada", PASSWORD)
    known.remember("10.0.0.1", "ada", PASSWORD)
    assert known.remembers("10.0.0.1", "ada", PASSWORD)
    assert not known.remembers("10.0.0.2", "ada", PASSWORD)
    assert not known.remembers("10.0.0.1", "ada", "wrong")


def test_logins_are_added_replaced_listed_and_removed(open_accounts: Callable[[], Accounts]) -> None:
    known = open_accounts()
    known.add("grace", PASSWORD)
    known.add("ada", PASSWORD)
    with pytest.raises(UsernameTaken):
        known.add("ada", "another")
    known.check("ada", PASSWORD)
    known.replace("ada", "another")
    known.check("ada", "another")
    assert known.names() == ["ada", "grace"]
    known.remove("grace")
    assert known.names() == ["ada"]
    for call in (lambda: known.remove("grace"), lambda: known.replace("grace", PASSWORD)):
        with pytest.raises(UnknownUsername):
            call()


def test_a_database_locked_by_another_process_is_unavailable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "BUSY_TIMEOUT", 0.1)
    path = tmp_path / "logins.db"
    logins = Accounts(Database(f"sqlite:///{path}"))
    logins.save("ada", PASSWORD)
    other = sqlite3.connect(path)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(DatabaseUnavailable):
        logins.save("grace", PASSWORD)
    other.rollback()
    other.close()
    logins.save("grace", PASSWORD)
    logins.close()


def test_waiting_for_a_locked_database_does_not_take_longer_with_more_threads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Threads that waited one after the other would take eight times as long and exhaust the pool."""
    monkeypatch.setattr(database, "BUSY_TIMEOUT", 0.5)
    path = tmp_path / "logins.db"
    other = sqlite3.connect(path)
    other.execute("CREATE TABLE t (x)")
    other.execute("BEGIN EXCLUSIVE")
    logins = Accounts(Database(f"sqlite:///{path}"))

    def wait(number: int) -> float:
        start = time.monotonic()
        with pytest.raises(DatabaseUnavailable):
            logins.save(f"user {number}", PASSWORD)
        return time.monotonic() - start

    with ThreadPoolExecutor(8) as pool:
        longest = max(pool.map(wait, range(8)))
    other.rollback()
    other.close()
    logins.close()
    assert longest < 8 * 0.5


def test_an_invalid_hash_in_the_database_matches_no_password(
    open_accounts: Callable[[], Accounts], database_url: str
) -> None:
    known = open_accounts()
    known.save("ada", PASSWORD)
    engine = create_engine(database_url)
    with engine.begin() as connection:
        connection.execute(text("UPDATE logins SET password_hash = 'rubbish'"))
    engine.dispose()
    with pytest.raises(WrongPassword):
        known.save("ada", PASSWORD)


def test_a_file_that_is_no_database_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "logins.db").write_text("these are no tables " * 100)
    logins = Accounts(Database(f"sqlite:///{tmp_path / 'logins.db'}"))
    with pytest.raises(DatabaseUnavailable):
        logins.save("ada", PASSWORD)
    logins.close()


def test_only_the_owner_can_read_the_database_file(tmp_path: Path) -> None:
    logins = Accounts(Database(f"sqlite:///{tmp_path / 'data' / 'logins.db'}"))
    logins.save("ada", PASSWORD)
    files = list((tmp_path / "data").iterdir())
    assert files
    assert {file.stat().st_mode & 0o777 for file in files} == {0o600}
    logins.close()


def test_the_database_is_not_opened_before_the_first_call(tmp_path: Path) -> None:
    Accounts(Database(f"sqlite:///{tmp_path / 'logins.db'}")).close()
    assert not list(tmp_path.iterdir())


@pytest.mark.postgresql
def test_a_restarting_postgresql_is_unavailable_and_then_works_again(postgresql: PostgreSQL) -> None:
    postgresql.empty()
    accounts = Accounts(Database(postgresql.url))
    accounts.save("ada", PASSWORD)
    postgresql.stop()
    with pytest.raises(DatabaseUnavailable):
        accounts.save("bob", PASSWORD)
    postgresql.start()
    accounts.save("bob", PASSWORD)
    with pytest.raises(WrongPassword):
        accounts.save("ada", "another")
    assert [name for name, _ in rows(postgresql.url)] == ["ada", "bob"]
    accounts.close()
