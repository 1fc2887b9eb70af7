"""`flask --app wsgi users`"""

import os
import pty
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskCliRunner

from flaskapp.accounts import Accounts, warn_of_unvetted
from flaskapp.database import Database
from tests.conftest import ROOT, Server, clean_environment
from tests.documents import flask_commands


@pytest.fixture
def app(make_app: Callable[..., Flask]) -> Flask:
    return make_app(REQUIRE_LOGIN="true")


@pytest.fixture
def runner(app: Flask) -> FlaskCliRunner:
    return app.test_cli_runner()


def run(runner: FlaskCliRunner, *arguments: str, password: str = "") -> tuple[int, str]:
    result = runner.invoke(args=["users", *arguments], input=password)
    return result.exit_code, result.output


def is_accepted(app: Flask, username: str, password: str) -> bool:
    answer = app.test_client().get("/text_model/?data=a", auth=(username, password))
    assert answer.status_code in (200, 401)
    return answer.status_code == 200


def listed(runner: FlaskCliRunner) -> list[list[str]]:
    """Return the listed names and origins."""
    code, output = run(runner, "list")
    assert code == 0
    return [line.split("\t")[:2] for line in output.splitlines()]


@pytest.fixture
def mixed(app: Flask, make_app: Callable[..., Flask]) -> Flask:
    """Return an application whose database has logins of every origin."""
    accounts = app.extensions["accounts"]
    accounts.add("ada", "correct horse")
    for name in ("bob", "mallory"):
        answer = make_app().test_client().post("/login/", json={"username": name, "password": "secret"})
        assert answer.status_code == 200
    accounts.add("old", "secret", None)
    return app


def test_registered_logins_are_listed_apart_from_added_ones_and_removed_together(
    mixed: Flask, runner: FlaskCliRunner
) -> None:
    code, output = run(runner, "list")
    assert code == 0
    assert re.search(r"^mallory\tregistered\t20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00$", output, re.MULTILINE)
    run(runner, "add", "--replace", "bob", password="chosen by the operator")
    expected = [["ada", "added"], ["bob", "added"], ["mallory", "registered"], ["old", "unknown"]]
    assert listed(runner) == expected
    assert run(runner, "remove", "--registered") == (0, "mallory is removed\n")
    assert not is_accepted(mixed, "mallory", "secret")
    assert is_accepted(mixed, "ada", "correct horse")
    assert run(runner, "remove", "--registered") == (0, "no saved login is registered\n")
    assert run(runner, "remove", "--unknown") == (0, "old is removed\n")
    assert listed(runner) == [["ada", "added"], ["bob", "added"]]


def test_remove_takes_either_names_or_registered(runner: FlaskCliRunner) -> None:
    assert run(runner, "remove")[0] == 2
    assert run(runner, "remove", "--registered", "ada")[0] == 2


def test_the_start_warns_how_many_logins_were_registered(mixed: Flask, caplog: pytest.LogCaptureFixture) -> None:
    warn_of_unvetted(mixed.config, mixed.extensions["accounts"])
    assert "2 saved logins were registered while" in caplog.text
    assert "1 are of unknown origin" in caplog.text
    assert f"first was saved at {datetime.now(UTC):%Y-%m-%d}" in caplog.text
    assert "users remove --registered" in caplog.text


@pytest.mark.parametrize("settings", [{}, {"REQUIRE_LOGIN": True, "REGISTRATION": "open"}])
def test_with_open_registration_there_is_no_warning(
    make_app: Callable[..., Flask], caplog: pytest.LogCaptureFixture, settings: dict[str, object]
) -> None:
    app = make_app(**settings)
    app.extensions["accounts"].save("bob", "secret")
    warn_of_unvetted(app.config, app.extensions["accounts"])
    assert "registered while" not in caplog.text


def test_a_server_that_closes_registration_warns_of_registered_logins(
    start_server: Callable[..., Server], tmp_path: Path
) -> None:
    database = Database(f"sqlite:///{tmp_path / 'test.db'}")
    Accounts(database).save("bob", "secret")
    database.close()
    url = f"sqlite:///{tmp_path / 'test.db'}"
    server = start_server("--workers", "2", FLASKAPP_DATABASE_URL=url, FLASKAPP_REQUIRE_LOGIN="true")
    server.wait_for("1 saved logins were registered while")


def test_a_login_is_added_listed_and_removed(app: Flask, runner: FlaskCliRunner) -> None:
    assert run(runner, "add", "grace", password="correct horse\n") == (0, "grace is saved\n")
    assert run(runner, "add", "ada", password="correct horse") == (0, "ada is saved\n")
    assert is_accepted(app, "ada", "correct horse")
    assert listed(runner) == [["ada", "added"], ["grace", "added"]]
    assert run(runner, "remove", "grace") == (0, "grace is removed\n")
    assert listed(runner) == [["ada", "added"]]
    assert not is_accepted(app, "grace", "correct horse")


def test_a_saved_login_keeps_its_password_without_replace(app: Flask, runner: FlaskCliRunner) -> None:
    run(runner, "add", "ada", password="first")
    assert run(runner, "add", "ada", password="second") == (1, "Error: 'ada' is saved already\n")
    assert not is_accepted(app, "ada", "second")
    assert run(runner, "add", "--replace", "ada", password="second") == (0, "ada has another password\n")
    assert is_accepted(app, "ada", "second")
    assert not is_accepted(app, "ada", "first")


@pytest.mark.parametrize("arguments", [("remove",), ("add", "--replace")])
def test_an_unknown_name_is_an_error(runner: FlaskCliRunner, arguments: tuple[str, ...]) -> None:
    assert run(runner, *arguments, "nobody", password="secret") == (1, "Error: 'nobody' is not saved\n")
    assert run(runner, "list") == (0, "")


@pytest.mark.parametrize("password", ["x" * 64, "x" * 1024, "пароль 密码 🔑", " spaces count ", "two\nlines"])
def test_a_password_is_saved_completely(app: Flask, runner: FlaskCliRunner, password: str) -> None:
    run(runner, "add", "ada", password=password + "\n")
    assert is_accepted(app, "ada", password)
    assert not is_accepted(app, "ada", password[:-1])


@pytest.mark.parametrize(
    ("name", "password", "field"),
    [("a" * 151, "secret", "username"), ("ada", "", "password"), ("ada", "x" * 1025, "password")],
)
def test_an_invalid_login_is_refused(runner: FlaskCliRunner, name: str, password: str, field: str) -> None:
    code, output = run(runner, "add", name, password=password)
    assert code == 1
    assert output.startswith(f"Error: {field}: ")


@pytest.mark.parametrize("arguments", [("add",), ("add", "--replace"), ("remove",)])
def test_a_name_that_is_not_utf_8_is_refused(runner: FlaskCliRunner, arguments: tuple[str, ...]) -> None:
    name = os.fsdecode(b"ad\xff")  # as Python decodes the command line
    assert run(runner, *arguments, name, password="secret") == (1, "Error: username: Not valid text.\n")


def test_a_password_is_not_accepted_as_an_argument(runner: FlaskCliRunner) -> None:
    assert run(runner, "add", "ada", "secret")[0] == 2


def test_a_name_is_escaped_on_the_terminal(app: Flask, runner: FlaskCliRunner) -> None:
    app.extensions["accounts"].add("\x1b[2Jada", "secret")
    assert listed(runner) == [["'\\x1b[2Jada'", "added"]]


def test_without_a_database_the_error_is_one_line(make_app: Callable[..., Flask], tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    app = make_app(DATABASE_URL=f"sqlite:///{tmp_path}/file/no.db")
    code, output = run(app.test_cli_runner(), "list")
    assert (code, output) == (1, "Error: the database cannot be used at the moment\n")


def test_the_documented_commands_work(runner: FlaskCliRunner) -> None:
    commands = flask_commands("users")
    assert len(commands) == 5
    for _, command, _ in commands:
        assert run(runner, *shlex.split(command)[1:], password="secret")[0] == 0, command


def test_a_terminal_asks_twice_for_the_password_and_does_not_show_it(tmp_path: Path) -> None:
    here, there = pty.openpty()
    process = subprocess.Popen(
        [Path(sys.executable).with_name("flask"), "--app", "wsgi", "users", "add", "ada"],
        cwd=ROOT, env=clean_environment() | {"FLASKAPP_DATABASE_URL": f"sqlite:///{tmp_path / 'test.db'}"},
        stdin=there, stdout=there, stderr=there, start_new_session=True,
    )  # fmt: skip
    os.close(there)
    shown = b""
    for prompt in (b"Password: ", b"confirmation: "):
        while not shown.endswith(prompt):
            shown += os.read(here, 1000)
        os.write(here, b"canary\n")
    while b"ada is saved" not in shown:
        shown += os.read(here, 1000)
    assert process.wait(30) == 0
    os.close(here)
    assert b"canary" not in shown
