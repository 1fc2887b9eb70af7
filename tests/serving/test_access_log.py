"""The access log's format. test_gunicorn.py checks the line of a running server."""

import os
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from gunicorn.config import Config

from flaskapp.serving.access_log import FORMAT, AccessLogger
from flaskapp.timings import KEY, Timings

ENVIRON = {
    "REMOTE_ADDR": "10.0.0.1", "REQUEST_METHOD": "GET", "PATH_INFO": "/items/5", "QUERY_STRING": "q=secret",
    "RAW_URI": "/items/5?q=secret", "SERVER_PROTOCOL": "HTTP/1.1", "HTTP_USER_AGENT": "curl",
}  # fmt: skip


def line(access_log_format: str, **variables: Any) -> str:
    config = Config()
    config.set("access_log_format", access_log_format)
    response: Any = SimpleNamespace(status="200 OK", sent=14, headers=[("X-Answer", "42")])
    request: Any = SimpleNamespace(headers=[("ACCEPT", "*/*"), ("REFERER", "http://localhost/?secret")])
    logger = AccessLogger(config)
    atoms = logger.atoms(response, request, ENVIRON | variables, timedelta(milliseconds=1234.5))
    return access_log_format % logger.atoms_wrapper_class(atoms)


def test_a_line_has_method_path_status_bytes_time_and_id_but_no_query() -> None:
    written = line(FORMAT, **{KEY: Timings("abc-123")})
    assert written.startswith("10.0.0.1 [")
    assert written.endswith('] "GET /items/5 HTTP/1.1" 200 14 1234ms "curl" abc-123')


@pytest.fixture
def rotated(tmp_path: Path) -> Iterator[tuple[AccessLogger, Path, Path]]:
    file, old = tmp_path / "access.log", tmp_path / "access.log.1"
    config = Config()
    config.set("accesslog", str(file))
    logger = AccessLogger(config)
    file.rename(old)
    yield logger, file, old
    for handler in list(logger.access_log.handlers):
        logger.access_log.removeHandler(handler)
        handler.close()


def test_a_rotated_file_is_reopened(rotated: tuple[AccessLogger, Path, Path]) -> None:
    logger, file, old = rotated
    logger.reopen_files()
    logger.access_log.info("a request")
    assert (file.read_text(), old.read_text()) == ("a request\n", "")


def test_a_file_that_cannot_be_reopened_stays_in_use(
    rotated: tuple[AccessLogger, Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    logger, file, old = rotated
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write everywhere, so simulate a refusal
    logger.reopen_files()
    logger.access_log.info("a request")
    assert old.read_text() == "a request\n"
    assert not file.exists()


def test_a_path_cannot_inject_another_line() -> None:
    assert "\n" not in line(FORMAT, PATH_INFO="/a\nforged", RAW_URI="/a%0aforged?q=secret")
    assert '"GET /a%0aforged HTTP/1.1"' in line(FORMAT, PATH_INFO="/a\nforged", RAW_URI="/a%0aforged?q=secret")


@pytest.mark.parametrize(
    "access_log_format", ["%(r)s", "%(q)s", "%(f)s", "%({referer}i)s", "%({raw_uri}e)s", "%({query_string}e)s"]
)
def test_no_format_has_a_query_string(access_log_format: str) -> None:
    written = line(access_log_format, HTTP_REFERER="http://localhost/login/?password=secret")
    assert "secret" not in written


@pytest.mark.parametrize(
    ("access_log_format", "expected"), [("%({accept}i)s", "*/*"), ("%({x-answer}o)s", "42"), ("%(D)s", "1234500")]
)
def test_a_custom_format_may_use_gunicorn_s_fields(access_log_format: str, expected: str) -> None:
    assert line(access_log_format) == expected
