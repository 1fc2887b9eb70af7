"""API tokens over HTTP: authorized requests, owned jobs and refusals."""

import base64
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import requests
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import event
from werkzeug.test import TestResponse

from flaskapp import passwords, tokens
from flaskapp.database import Database
from flaskapp.tokens import Tokens
from tests.api.test_caption_jobs import submit
from tests.api.test_protected import CALLS, CHALLENGES
from tests.conftest import Server, assert_error

ADA = ("ada", "correct horse")


@pytest.fixture
def app(make_app: Callable[..., Flask]) -> Flask:
    app = make_app(REQUIRE_LOGIN="true", RATE_LIMIT_FAILURES="off")
    app.extensions["accounts"].add(*ADA)
    return app


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()


@pytest.fixture
def token(app: Flask) -> str:
    return new_token(app, "ci")


def new_token(app: Flask, name: str) -> str:
    token: str = app.extensions["tokens"].create(name)
    return token


def bearer(token: str, scheme: str = "Bearer") -> dict[str, str]:
    return {"Authorization": f"{scheme} {token}"}


def check(client: FlaskClient, token: str, scheme: str = "Bearer", address: str = "10.0.0.1") -> TestResponse:
    environ = {"REMOTE_ADDR": address}
    return client.get("/text_model/?data=a", headers=bearer(token, scheme), environ_base=environ)


@pytest.mark.parametrize("call", CALLS)
def test_a_token_authorizes_every_protected_endpoint_beside_logins(
    client: FlaskClient, token: str, call: Callable[..., TestResponse]
) -> None:
    assert call(client, headers=bearer(token)).status_code == 200
    assert call(client, auth=ADA).status_code == 200
    answer = call(client, headers=bearer(token[:-1] + "?"))
    assert answer.status_code == 401
    assert answer.headers.getlist("WWW-Authenticate") == CHALLENGES


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_the_scheme_may_have_any_case(client: FlaskClient, token: str, scheme: str) -> None:
    assert check(client, token, scheme).status_code == 200


def test_a_refused_token_gets_the_shape_of_errors(client: FlaskClient) -> None:
    answer = check(client, "canary")
    assert_error(answer, 401)
    assert answer.get_json()["message"] == "the API token is unknown, revoked or expired"
    assert "canary" not in str(answer.headers)


@pytest.mark.parametrize(
    "header",
    ["Bearer", "Bearer ", "bearer", "Bearer =", "Bearer a=b", "Bearer username=ada", "Bearer a\0b", "Bearer \xff\xfe",
     "Bearer " + "x" * 100_000, "Bearer " + "flaskapp_" * 5000, "Bearer 'a' OR 1=1", "bearer !", "Token flaskapp_a",
     "Bearer " + base64.b64encode(b"ada:correct horse").decode(), "Bearer\tflaskapp_a", "Bearer  a  b"],
)  # fmt: skip
def test_a_malformed_bearer_header_is_refused(client: FlaskClient, header: str) -> None:
    answer = client.get("/text_model/?data=a", headers={"Authorization": header})
    assert_error(answer, 401)
    assert answer.headers.getlist("WWW-Authenticate") == CHALLENGES


def test_a_real_server_accepts_a_token_and_refuses_odd_ones(
    start_server: Callable[..., Server], tmp_path: Path
) -> None:
    database = f"sqlite:///{tmp_path / 'server.db'}"
    server = start_server("--workers", "1", FLASKAPP_REQUIRE_LOGIN="true", FLASKAPP_DATABASE_URL=database)
    opened = Database(database)
    saved = Tokens(opened)
    token = saved.create("ci")
    url = server.url + "/text_model/?data=a"
    answers = [
        requests.get(url, headers={"Authorization": header}, timeout=30)
        for header in (f"Bearer {token}", f"bearer {token}", f"Bearer {token}canary", "Bearer \xffcanary", "Bearer")
    ]
    assert [answer.status_code for answer in answers] == [200, 200, 401, 401, 401]
    assert answers[2].raw.headers.getlist("WWW-Authenticate") == CHALLENGES
    saved.revoke("ci")
    opened.close()
    assert requests.get(url, headers=bearer(token), timeout=30).status_code == 401
    server.stop()
    server.close()
    assert token not in "".join(server.lines)
    assert "canary" not in "".join(server.lines)


def test_a_revoked_or_expired_token_is_refused_at_once(
    app: Flask, client: FlaskClient, token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.time()
    short: str = app.extensions["tokens"].create("short", now + 60)
    assert [check(client, each).status_code for each in (token, short)] == [200, 200]
    app.extensions["tokens"].revoke("ci")
    assert [check(client, each).status_code for each in (token, short)] == [401, 200]
    monkeypatch.setattr(tokens.time, "time", lambda: now + 61)
    assert check(client, short).status_code == 401


def test_without_the_setting_the_authorization_header_is_ignored(make_app: Callable[..., Flask]) -> None:
    client = make_app(RATE_LIMIT_FAILURES="1/minute").test_client()
    assert [check(client, each).status_code for each in ("sk-none", "", "\xff")] == [200] * 3


def test_a_token_costs_one_indexed_query_and_no_password_hash(
    app: Flask, client: FlaskClient, token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(passwords, "is_hash_of", None)
    assert check(client, token).status_code == 200
    engine = app.extensions["accounts"]._database.engine
    statements: list[tuple[str, tuple[str, ...]]] = []
    event.listen(engine, "before_cursor_execute", lambda *given: statements.append((given[2], given[3])))
    assert check(client, token).status_code == 200
    ((statement, parameters),) = statements
    with engine.connect() as connection:
        (plan,) = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters).all()
    assert "USING INDEX" in plan[-1]


def test_without_the_database_a_token_gets_a_503(app: Flask, client: FlaskClient, token: str) -> None:
    assert check(client, token).status_code == 200
    app.extensions["accounts"].close()
    Path(app.config["DATABASE_URL"].removeprefix("sqlite:///")).write_text("these are no tables " * 100)
    answer = check(client, token)
    assert_error(answer, 503)
    assert int(answer.headers["Retry-After"]) > 0


def test_wrong_tokens_and_wrong_passwords_count_together_by_address(make_app: Callable[..., Flask]) -> None:
    app = make_app(REQUIRE_LOGIN=True, RATE_LIMIT_FAILURES="3/minute")
    client, token = app.test_client(), new_token(app, "ci")
    assert [check(client, each).status_code for each in (token, "wrong", token, "wrong")] == [200, 401, 200, 401]
    wrong = client.get("/text_model/?data=a", auth=("ada", "wrong"), environ_base={"REMOTE_ADDR": "10.0.0.1"})
    assert wrong.status_code == 401
    refused = check(client, "wrong")
    assert_error(refused, 429)
    assert int(refused.headers["Retry-After"]) > 0
    assert check(client, token).status_code == 429, "otherwise the counter would reveal a right guess"
    assert check(client, token, address="10.0.0.2").status_code == 200


def test_a_request_without_a_token_does_not_count(make_app: Callable[..., Flask]) -> None:
    client = make_app(REQUIRE_LOGIN=True, RATE_LIMIT_FAILURES="1/minute").test_client()
    assert [check(client, "").status_code for _ in range(3)] == [401] * 3


def test_only_its_token_can_access_a_job(app: Flask, client: FlaskClient, token: str) -> None:
    app.extensions["accounts"].add("ci", "secret")
    app.extensions["accounts"].add("token:ci", "secret")
    other = new_token(app, "other")
    location = submit(client, "star.png", headers=bearer(token)).headers["Location"]
    assert client.get(location, headers=bearer(token)).status_code == 200
    assert_error(client.get(location, headers=bearer(other)), 404)
    for login in (ADA, ("ci", "secret")):
        assert_error(client.get(location, auth=login), 404)
    assert_error(client.get(location, auth=("token:ci", "secret")), 401)
    owned = submit(client, "star.png", auth=ADA).headers["Location"]
    assert_error(client.get(owned, headers=bearer(token)), 404)


def test_a_new_token_of_the_same_name_owns_the_jobs_of_the_old_one(app: Flask, client: FlaskClient, token: str) -> None:
    location = submit(client, "star.png", headers=bearer(token)).headers["Location"]
    app.extensions["tokens"].revoke("ci")
    assert client.get(location, headers=bearer(new_token(app, "ci"))).status_code == 200


@pytest.mark.parametrize("length", [1, tokens.MAX_NAME])
def test_a_token_with_a_long_name_may_own_jobs(app: Flask, client: FlaskClient, length: int) -> None:
    named = new_token(app, "ü" * length)
    assert submit(client, "star.png", headers=bearer(named)).status_code == 202
