from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from tests.conftest import assert_error

FILE_ONLY = '--x\r\nContent-Disposition: form-data; name="username"; filename="README.md"\r\n\r\nada\r\n--x--\r\n'
ADA = {"username": "ada", "password": "correct horse"}


@pytest.mark.parametrize("way", ["json", "data", "query_string"])
def test_a_login_is_accepted_as_json_as_a_form_or_in_the_query(client: FlaskClient, way: str) -> None:
    arguments: dict[str, Any] = {way: ADA}
    answer = client.post("/login/", **arguments)
    assert (answer.status_code, answer.get_json()) == (200, "login saved")
    assert client.post("/login", json=ADA).get_json() == "login saved"
    assert_error(client.post("/login/", json=ADA | {"password": "wrong"}), 401)


def test_with_an_empty_form_the_query_counts(client: FlaskClient) -> None:
    content_type = "application/x-www-form-urlencoded"  # what `curl -d ""` says
    assert client.post("/login/", query_string=ADA, data="", content_type=content_type).status_code == 200


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"username": ""}, "username"),
        ({"password": ""}, "password"),
        ({"username": "a" * 151}, "username"),
        ({"password": "a" * 1025}, "password"),
        ({"username": 5}, "username"),
        ({"password": None}, "password"),
        ({"username": "a\0b"}, "username"),
        ({"password": "\ud800"}, "password"),
        ({"admin": True}, "admin"),
    ],
)
def test_an_invalid_login_is_refused_and_the_field_named(
    client: FlaskClient, change: dict[str, Any], field: str
) -> None:
    assert_error(client.post("/login/", json=ADA | change), 422, "json", field)


@pytest.mark.parametrize(("way", "source"), [("json", "json"), ("data", "form"), ("query_string", "query")])
def test_an_invalid_field_is_named_with_its_place(client: FlaskClient, way: str, source: str) -> None:
    arguments: dict[str, Any] = {way: {"username": "ada"}}
    assert_error(client.post("/login/", **arguments), 422, source, "password")


@pytest.mark.parametrize(
    "form",
    [
        {"data": FILE_ONLY, "content_type": "multipart/form-data; boundary=x"},
        {"data": "", "content_type": "application/x-www-form-urlencoded"},
        {"data": "--x--\r\n", "content_type": "multipart/form-data; boundary=x"},
    ],
    ids=["a file only", "an empty urlencoded form", "an empty multipart form"],
)
def test_the_errors_of_a_form_without_fields_are_those_of_a_form(client: FlaskClient, form: dict[str, Any]) -> None:
    assert_error(client.post("/login/", **form), 422, "form", "username")
    assert_error(client.post("/login/", query_string={"username": "ada"}, **form), 422, "query", "password")


def test_an_empty_login_names_both_fields(client: FlaskClient) -> None:
    assert_error(client.post("/login/"), 422, "json", "username")
    assert_error(client.post("/login/", json={}), 422, "json", "password")


def test_plain_text_is_an_unsupported_media_type(client: FlaskClient) -> None:
    assert_error(client.post("/login/", data="ada", content_type="text/plain"), 415)


def test_no_answer_contains_the_password(client: FlaskClient) -> None:
    canary = "canary" * 200
    assert "canary" not in client.post("/login/", json={"username": "ada", "password": canary}).text


@pytest.mark.parametrize("body", ['{"username": "ada", "password": "canary"}', "canary", "username=ada&canary=1"])
def test_json_or_a_password_sent_as_a_form_is_not_repeated(client: FlaskClient, body: str) -> None:
    answer = client.post("/login/", data=body, content_type="application/x-www-form-urlencoded")
    assert_error(answer, 422, "form", "_schema")
    assert "canary" not in answer.text


def test_a_form_with_escaped_bytes_that_are_not_utf_8_is_malformed(client: FlaskClient) -> None:
    answer = client.post("/login/", data="username=ada&password=%E9", content_type="application/x-www-form-urlencoded")
    assert_error(answer, 400)
    assert "UTF-8" in answer.get_json()["message"]


def test_a_long_name_of_an_unknown_field_is_cut(client: FlaskClient) -> None:
    answer = client.post("/login/", json=ADA | {"a" * 100_000: 1})
    assert_error(answer, 422, "json", "a" * 100 + "…")
    assert len(answer.data) < 1000


def test_without_a_database_logins_are_unavailable(make_app: Callable[..., Flask], tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    client = make_app(DATABASE_URL=f"sqlite:///{tmp_path}/file/no.db").test_client()
    answer = client.post("/login/", json=ADA)
    assert_error(answer, 503)
    assert int(answer.headers["Retry-After"]) > 0
    assert client.get("/").status_code == 200
