"""REQUIRE_LOGIN: authentication of the model endpoints, and their refusals."""

import base64
import io
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from flaskapp import login_cache, passwords
from flaskapp.accounts import Accounts
from flaskapp.database import Database
from tests.conftest import ASSETS, assert_error

ADA = ("ada", "correct horse")
NO_LIMITS = {"RATE_LIMIT_LOGIN": "off", "RATE_LIMIT_FAILURES": "off"}
CHALLENGES = ['Basic realm="flaskapp", charset="UTF-8"', 'Bearer realm="flaskapp"']


@pytest.fixture
def app(make_app: Callable[..., Flask]) -> Flask:
    app = make_app(REQUIRE_LOGIN="true", **NO_LIMITS)
    app.extensions["accounts"].add(*ADA)
    return app


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()


@pytest.fixture
def hashes(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return a list that collects the hashed passwords."""
    seen: list[str] = []
    is_hash_of = passwords.is_hash_of

    def record(known_hash: str, password: str) -> bool:
        seen.append(password)
        return is_hash_of(known_hash, password)

    monkeypatch.setattr(passwords, "is_hash_of", record)
    return seen


def check(client: FlaskClient, *auth: str) -> TestResponse:
    return client.get("/text_model/?data=a", auth=auth or None)


def star() -> dict[str, Any]:
    return {"data": (io.BytesIO((ASSETS / "star.png").read_bytes()), "star.png")}


CALLS: list[Callable[..., TestResponse]] = [
    lambda client, **options: client.post("/caption/", data=star(), **options),
    lambda client, **options: client.post("/image-to-text", data=star()["data"][0].read(), **options),
    lambda client, **options: client.post("/cv_model", data=star(), **options),
    lambda client, **options: client.get("/text_model/?data=a", **options),
    lambda client, **options: client.head("/text_model/?data=a", **options),
    lambda client, **options: client.post(
        "/text_model/", json={"email": "a@gmail.com", "domain_match": "gmail"}, **options
    ),
]


@pytest.mark.parametrize("call", CALLS)
def test_model_endpoints_require_a_login(client: FlaskClient, call: Callable[..., TestResponse]) -> None:
    assert call(client, auth=ADA).status_code == 200
    for answer in (call(client), call(client, auth=("ada", "wrong")), call(client, auth=("bob", "correct horse"))):
        assert answer.status_code == 401
        assert answer.headers.getlist("WWW-Authenticate") == CHALLENGES


def test_a_refusal_has_the_shape_of_all_errors(client: FlaskClient) -> None:
    assert_error(check(client), 401)
    message = "log in with a saved username and its password, or with an API token"
    assert check(client).get_json()["message"] == message


@pytest.mark.parametrize("path", ["/", "/items/5", "/restric_items/lenet", "/query_items?item_id=5", "/swagger-ui",
                                  "/openapi.json"])  # fmt: skip
def test_other_endpoints_require_no_login(client: FlaskClient, path: str) -> None:
    assert client.get(path).status_code == 200


def test_without_the_setting_no_login_is_required(make_app: Callable[..., Flask]) -> None:
    client = make_app().test_client()
    assert check(client).status_code == 200
    assert check(client, "ada", "wrong").status_code == 200


@pytest.mark.parametrize(
    "header",
    ["Basic", "Basic ", "Basic !", "Basic " + base64.b64encode(b"ada").decode(), "Bearer correct horse",
     "Basic " + base64.b64encode(b":").decode(), "Basic " + base64.b64encode(b"\xff\xfe:\xff").decode(),
     "Basic " + base64.b64encode(b"a\0:secret").decode(), "Digest username=ada", ""],
)  # fmt: skip
def test_a_malformed_authorization_header_is_refused(client: FlaskClient, header: str) -> None:
    answer = client.get("/text_model/?data=a", headers={"Authorization": header})
    assert_error(answer, 401)
    assert answer.headers.getlist("WWW-Authenticate") == CHALLENGES


@pytest.mark.parametrize("password", ["x" * 64, "x" * 1024, "пароль 密码 🔑", "a:b:c", " "])
def test_passwords_are_compared_completely(app: Flask, client: FlaskClient, password: str) -> None:
    app.extensions["accounts"].add("grace", password)
    assert check(client, "grace", password).status_code == 200
    assert check(client, "grace", password[:-1] + "?").status_code == 401


@pytest.mark.parametrize("auth", [("ada", "x" * 1025), ("a" * 151, "secret"), ("", "secret")])
def test_an_invalid_login_is_refused_without_hashing(
    client: FlaskClient, hashes: list[str], auth: tuple[str, str]
) -> None:
    assert_error(check(client, *auth), 401)
    assert hashes == []


def test_a_right_login_is_cached_and_a_wrong_one_is_not(client: FlaskClient, hashes: list[str]) -> None:
    answers = [check(client, *ADA), check(client, *ADA), check(client, "ada", "no"), check(client, "ada", "no")]
    assert [answer.status_code for answer in answers] == [200, 200, 401, 401]
    assert hashes == ["correct horse", "no", "no"]


def test_a_removed_login_works_until_its_cache_entry_expires(
    app: Flask, client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.monotonic()
    monkeypatch.setattr(app.extensions["accounts"], "_login_cache", login_cache.LoginCache(lambda: now))
    assert check(client, *ADA).status_code == 200
    elsewhere = Accounts(Database(app.config["DATABASE_URL"]))  # as `flask users` opens it
    elsewhere.remove("ada")
    elsewhere.close()
    assert check(client, *ADA).status_code == 200
    now += login_cache.TTL
    assert check(client, *ADA).status_code == 401


def test_without_the_database_only_cached_logins_work(app: Flask, client: FlaskClient) -> None:
    assert check(client, *ADA).status_code == 200
    app.extensions["accounts"].close()
    Path(app.config["DATABASE_URL"].removeprefix("sqlite:///")).write_text("these are no tables " * 100)
    answer = check(client, "ada", "wrong")
    assert_error(answer, 503)
    assert int(answer.headers["Retry-After"]) > 0
    assert check(client, *ADA).status_code == 200


def test_require_login_closes_registration(app: Flask, client: FlaskClient) -> None:
    def login(username: str, password: str) -> TestResponse:
        return client.post("/login/", json={"username": username, "password": password})

    assert login(*ADA).get_json() == "login saved"
    assert_error(login("bob", "secret"), 401)
    assert_error(login("ada", "wrong"), 401)
    assert login("bob", "secret").data == login("ada", "wrong").data
    assert_error(login("ada", "x" * 1025), 422, "json", "password")
    assert app.extensions["accounts"].names() == ["ada"]


@pytest.mark.parametrize(
    ("require_login", "registration", "saves"),
    [("false", "", True), ("false", "open", True), ("false", "closed", False),
     ("true", "", False), ("true", "open", True), ("true", "closed", False)],
)  # fmt: skip
def test_registration_follows_its_setting(
    make_app: Callable[..., Flask], require_login: str, registration: str, saves: bool
) -> None:
    app = make_app(REQUIRE_LOGIN=require_login, REGISTRATION=registration)
    answer = app.test_client().post("/login/", json={"username": "bob", "password": "secret"})
    assert answer.status_code == (200 if saves else 401)
    assert app.extensions["accounts"].names() == (["bob"] if saves else [])


TRIES: list[Callable[[FlaskClient, str], TestResponse]] = [
    lambda client, name: client.post("/login/", json={"username": name, "password": "wrong"}),
    lambda client, name: check(client, name, "wrong"),
]


@pytest.mark.parametrize("attempt", TRIES, ids=["login", "basic"])
def test_known_and_unknown_names_are_indistinguishable(
    client: FlaskClient, attempt: Callable[[FlaskClient, str], TestResponse]
) -> None:
    times: dict[str, list[float]] = {"ada": [], "bob": []}
    answers = set()
    for _ in range(40):
        for name, taken in times.items():
            start = time.perf_counter()
            answer = attempt(client, name)
            taken.append(time.perf_counter() - start)
            del answer.headers["X-Request-ID"]  # different in each answer
            answers.add((answer.status_code, answer.data, str(answer.headers)))
    assert len(answers) == 1
    known, unknown = (statistics.median(taken) for taken in times.values())
    assert 2 / 3 < known / unknown < 3 / 2, "the ratio would be 20 if unknown names were not hashed"


OTHER_APIS = ("/v1/", "/v2", "/api/")  # APIs with their own error shapes


def test_the_openapi_document_has_security_schemes_only_with_required_logins(
    client: FlaskClient, make_app: Callable[..., Flask]
) -> None:
    spec = client.get("/openapi.json").get_json()
    schemes = spec["components"]["securitySchemes"]
    assert {name: (each["type"], each["scheme"]) for name, each in schemes.items()} == {
        "login": ("http", "basic"),
        "token": ("http", "bearer"),
    }
    for path, item in spec["paths"].items():
        for operation in (item[method] for method in item if method in ("get", "post")):
            if path.startswith(OTHER_APIS) and not path.startswith("/v2/health"):
                assert operation["security"] == [{"login": []}, {"token": []}]
                assert {"401", "429", "503"} <= operation["responses"].keys()
            elif path.startswith(("/caption", "/image-to-text", "/cv_model/", "/text_model/")):
                assert operation["security"] == [{"login": []}, {"token": []}]
                assert {"401", "429", "503"} <= operation["responses"].keys()
                assert "WWW-Authenticate" in operation["responses"]["401"]["headers"]
                assert "Retry-After" in operation["responses"]["429"]["headers"]
            else:
                assert "security" not in operation

    without = make_app().test_client().get("/openapi.json").get_json()
    assert "securitySchemes" not in without["components"]
    assert not [
        operation for item in without["paths"].values() for operation in item.values() if "security" in operation
    ]
    assert "401" not in without["paths"]["/caption/"]["post"]["responses"]
