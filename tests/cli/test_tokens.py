"""`flask --app wsgi tokens`"""

import re
import shlex
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskCliRunner

from tests.documents import flask_commands

TIME = r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00"


@pytest.fixture
def app(make_app: Callable[..., Flask]) -> Flask:
    return make_app(REQUIRE_LOGIN="true")


@pytest.fixture
def runner(app: Flask) -> FlaskCliRunner:
    return app.test_cli_runner()


def run(runner: FlaskCliRunner, *arguments: str) -> tuple[int, str]:
    result = runner.invoke(args=["tokens", *arguments])
    return result.exit_code, result.output


def create(runner: FlaskCliRunner, *arguments: str) -> str:
    """Create a token and return stdout."""
    result = runner.invoke(args=["tokens", "create", *arguments])
    assert result.exit_code == 0, result.output
    return result.stdout


def is_accepted(app: Flask, token: str) -> bool:
    answer = app.test_client().get("/text_model/?data=a", headers={"Authorization": f"Bearer {token}"})
    assert answer.status_code in (200, 401)
    return answer.status_code == 200


def expiry_of(runner: FlaskCliRunner, name: str) -> str:
    _, output = run(runner, "list")
    return next(line for line in output.splitlines() if line.startswith(f"{name}\t")).split("\t")[2]


def test_stdout_has_only_the_token(app: Flask, runner: FlaskCliRunner) -> None:
    result = runner.invoke(args=["tokens", "create", "ci"])
    assert re.fullmatch(r"flaskapp_[A-Za-z0-9_-]{43}\n", result.stdout)
    assert result.stderr == "ci is saved. Its token, which cannot be shown again:\n"
    assert is_accepted(app, result.stdout.strip())


def test_tokens_are_listed_without_their_text_and_revoked(app: Flask, runner: FlaskCliRunner) -> None:
    laptop, ci = create(runner, "laptop").strip(), create(runner, "ci", "--expires", "30").strip()
    code, output = run(runner, "list")
    assert code == 0
    assert re.fullmatch(f"ci\t{TIME}\t{TIME}\nlaptop\t{TIME}\t-\n", output)
    assert run(runner, "revoke", "ci") == (0, "ci is revoked\n")
    assert not is_accepted(app, ci)
    assert is_accepted(app, laptop)
    assert [line.split("\t")[0] for line in run(runner, "list")[1].splitlines()] == ["laptop"]


@pytest.mark.parametrize(
    ("given", "shown"),
    [("2090-01-31", "2090-01-31T00:00:00+00:00"), ("20900131", "2090-01-31T00:00:00+00:00"),
     ("2090-01-31T12:00+02:00", "2090-01-31T10:00:00+00:00")],
)  # fmt: skip
def test_an_expiry_date_is_the_start_of_the_day_in_utc(runner: FlaskCliRunner, given: str, shown: str) -> None:
    create(runner, "ci", "--expires", given)
    assert expiry_of(runner, "ci") == shown


def test_days_to_expiry_are_counted_from_now(runner: FlaskCliRunner) -> None:
    create(runner, "ci", "--expires", "90")
    expiry = datetime.fromisoformat(expiry_of(runner, "ci"))
    assert abs(expiry - datetime.now(UTC) - timedelta(days=90)) < timedelta(minutes=1)


@pytest.mark.parametrize(
    ("given", "complaint"),
    [("0", "0 is not between 1 and 36500 days"), ("99999", "99999 is not between 1 and 36500 days"),
     ("2020-01-01", "2020-01-01 is in the past"), ("soon", "'soon' is neither a number of days nor a date"),
     ("-1", "'-1' is neither a number"), ("9" * 5000, "is neither a number"), ("2030-02-30", "is neither a number"),
     ("9999-12-31T23:59-14:00", "is neither a number")],
)  # fmt: skip
def test_an_invalid_expiry_is_refused(runner: FlaskCliRunner, given: str, complaint: str) -> None:
    code, output = run(runner, "create", "ci", f"--expires={given}")
    assert code == 2
    assert complaint in output
    assert run(runner, "list") == (0, "")


def test_a_name_in_use_is_refused_and_keeps_its_token(app: Flask, runner: FlaskCliRunner) -> None:
    token = create(runner, "ci").strip()
    assert run(runner, "create", "ci") == (1, "Error: there is a token 'ci' already\n")
    assert is_accepted(app, token)


def test_a_name_without_a_token_is_an_error(runner: FlaskCliRunner) -> None:
    assert run(runner, "revoke", "ci") == (1, "Error: there is no token 'ci'\n")


@pytest.mark.parametrize("command", ["create", "revoke"])
@pytest.mark.parametrize(
    ("name", "complaint"),
    [("", "Length must be between 1 and 144."), ("a" * 145, "Length must be between 1 and 144."),
     ("\udcff", "Not valid text.")],
)  # fmt: skip
def test_an_invalid_name_is_refused(runner: FlaskCliRunner, command: str, name: str, complaint: str) -> None:
    code, output = run(runner, command, name)
    assert code == 2
    assert f"Invalid value for 'NAME': {complaint}" in output


def test_a_name_is_escaped_on_the_terminal(runner: FlaskCliRunner) -> None:
    result = runner.invoke(args=["tokens", "create", "\x1b[2Jci\t"])
    assert result.stderr.startswith("'\\x1b[2Jci\\t' is saved.")
    assert run(runner, "list")[1].startswith("'\\x1b[2Jci\\t'\t20")
    assert run(runner, "revoke", "\x1b[2Jci\t") == (0, "'\\x1b[2Jci\\t' is revoked\n")


def test_without_a_database_the_error_is_one_line(make_app: Callable[..., Flask], tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    app = make_app(DATABASE_URL=f"sqlite:///{tmp_path}/file/no.db")
    for arguments in (["create", "ci"], ["list"], ["revoke", "ci"]):
        code, output = run(app.test_cli_runner(), *arguments)
        assert (code, output) == (1, "Error: the database cannot be used at the moment\n")


def test_the_documented_commands_work(runner: FlaskCliRunner) -> None:
    commands = flask_commands("tokens")
    assert len(commands) == 3
    for _, command, _ in commands:
        assert run(runner, *shlex.split(command)[1:])[0] == 0, command
