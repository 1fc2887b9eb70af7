import logging
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests
from flask import Flask
from flask.testing import FlaskClient

from flaskapp.accounts import Accounts
from flaskapp.api.client_addresses import client_address
from flaskapp.database import Database
from tests.conftest import Server, assert_error
from tests.free_port import free_port
from tests.redis_server import RedisServer, redis

__all__ = ["redis"]  # a fixture

ADA = {"username": "ada", "password": "correct horse"}


def logins(client: FlaskClient, times: int, **options: Any) -> list[int]:
    return [client.post("/login/", json=ADA, **options).status_code for _ in range(times)]


def guesses(client: FlaskClient, times: int, username: str = "ada") -> list[int]:
    return [client.get("/text_model/?data=a", auth=(username, "wrong")).status_code for _ in range(times)]


def test_a_login_beyond_the_limit_gets_a_retry_after(make_app: Callable[..., Flask]) -> None:
    client = make_app(RATE_LIMIT_LOGIN="2/minute").test_client()
    assert logins(client, 3) == [200, 200, 429]
    answer = client.post("/login", json=ADA)
    assert_error(answer, 429)
    assert answer.get_json()["message"] == "too many attempts from this address"
    assert 0 < int(answer.headers["Retry-After"]) <= 60
    assert client.get("/items/5").status_code == 200


def test_wrong_and_malformed_logins_count(make_app: Callable[..., Flask]) -> None:
    client = make_app(RATE_LIMIT_LOGIN="3/minute").test_client()
    answers = [client.post("/login/", data=data, content_type="application/json") for data in ("", "{", "{}", "")]
    assert [answer.status_code for answer in answers] == [422, 400, 422, 429]


def test_the_limits_can_be_switched_off(make_app: Callable[..., Flask]) -> None:
    client = make_app(RATE_LIMIT_LOGIN="off", RATE_LIMIT_FAILURES="off", REQUIRE_LOGIN=True).test_client()
    assert set(logins(client, 40) + guesses(client, 40)) == {401}


def test_after_too_many_wrong_guesses_even_a_right_one_is_refused(make_app: Callable[..., Flask]) -> None:
    app = make_app(REQUIRE_LOGIN=True, RATE_LIMIT_FAILURES="3/minute")
    app.extensions["accounts"].add("ada", "correct horse")
    client = app.test_client()
    assert guesses(client, 2) + guesses(client, 2, "bob") == [401, 401, 401, 429]
    answer = client.post("/text_model/", json={}, auth=("ada", "correct horse"))
    assert_error(answer, 429)
    assert int(answer.headers["Retry-After"]) > 0


def test_wrong_passwords_count_together_on_all_endpoints(make_app: Callable[..., Flask]) -> None:
    client = make_app(REQUIRE_LOGIN=True, RATE_LIMIT_FAILURES="4/minute").test_client()
    assert logins(client, 2) + guesses(client, 2) == [401] * 4
    assert logins(client, 1) + guesses(client, 1) == [429] * 2


def test_only_wrong_logins_count(make_app: Callable[..., Flask]) -> None:
    app = make_app(REQUIRE_LOGIN=True, RATE_LIMIT_FAILURES="1/minute")
    app.extensions["accounts"].add("ada", "correct horse")
    app.extensions["accounts"].add("grace", "correct horse")
    client = app.test_client()

    def check(*auth: str) -> int:
        return client.get("/text_model/?data=a", auth=auth or None).status_code

    assert [check("ada", "correct horse"), check("grace", "correct horse"), check(), check()] == [200, 200, 401, 401]
    assert guesses(client, 2) == [401, 429]
    assert check("ada", "correct horse") == 429, "otherwise the counter would reveal a right guess"
    assert check() == 401


def test_addresses_are_limited_separately_and_a_spoofed_header_is_ignored(make_app: Callable[..., Flask]) -> None:
    client = make_app(RATE_LIMIT_LOGIN="1/minute").test_client()
    for address in ("10.0.0.1", "10.0.0.2"):
        environ = {"REMOTE_ADDR": address}
        assert logins(client, 1, environ_base=environ) == [200]
        for header in ("X-Forwarded-For", "X-Real-IP", "Forwarded"):
            assert logins(client, 1, environ_base=environ, headers={header: "10.9.9.9"}) == [429]


def test_behind_trusted_proxies_the_address_seen_by_the_last_one_counts(make_app: Callable[..., Flask]) -> None:
    client = make_app(RATE_LIMIT_LOGIN="1/minute", TRUSTED_PROXIES="1").test_client()

    def forwarded(header: str) -> int:
        return logins(client, 1, headers={"X-Forwarded-For": header})[0]

    assert [forwarded("10.0.0.1"), forwarded("10.0.0.2")] == [200, 200]
    assert [forwarded("10.9.9.9, 10.0.0.1"), forwarded("10.8.8.8, 10.0.0.2")] == [429, 429]


@pytest.mark.parametrize(
    "pattern", ["203.0.113.7:{}", '"203.0.113.7:{}"', "[2001:db8::1]:{}", "[2001:db8::{}]", "junk{}"]
)
def test_a_forwarded_address_is_limited_whatever_its_port(make_app: Callable[..., Flask], pattern: str) -> None:
    app = make_app(RATE_LIMIT_LOGIN="off", RATE_LIMIT_FAILURES="3/minute", TRUSTED_PROXIES="1", REQUIRE_LOGIN=True)
    client = app.test_client()
    headers = [
        {"X-Forwarded-For": pattern.format(41000 + number if "]:" in pattern else number)} for number in range(5)
    ]
    assert [logins(client, 1, headers=each) for each in headers] == [[401], [401], [401], [429], [429]]


ADA_BASIC, WRONG = ("ada", "correct horse"), ("ada", "wrong")


def asked_from(client: FlaskClient, address: str, auth: tuple[str, str]) -> int:
    return client.get("/text_model/?data=a", auth=auth, environ_base={"REMOTE_ADDR": address}).status_code


def with_ada(make_app: Callable[..., Flask], **settings: Any) -> FlaskClient:
    app = make_app(REQUIRE_LOGIN=True, **settings)
    app.extensions["accounts"].add(*ADA_BASIC)
    return app.test_client()


def test_a_right_guess_after_too_many_wrong_ones_is_refused_while_the_owner_is_active(
    make_app: Callable[..., Flask],
) -> None:
    client = with_ada(make_app, RATE_LIMIT_FAILURES="2/minute")
    assert asked_from(client, "10.0.0.1", ADA_BASIC) == 200
    assert [asked_from(client, "10.0.0.2", auth) for auth in (WRONG, WRONG, ADA_BASIC)] == [401, 401, 429]
    assert asked_from(client, "10.0.0.1", ADA_BASIC) == 200


def test_guesses_from_many_addresses_are_limited_by_username_and_the_owner_stays_logged_in(
    make_app: Callable[..., Flask],
) -> None:
    client = with_ada(make_app, RATE_LIMIT_USERNAME="3/minute")
    assert asked_from(client, "10.0.0.1", ADA_BASIC) == 200
    guessed = [asked_from(client, f"10.0.1.{number}", WRONG) for number in range(5)]
    assert guessed == [401, 401, 401, 429, 429]
    assert asked_from(client, "10.0.1.9", ADA_BASIC) == 429, "the right password from a new address"
    assert asked_from(client, "10.0.1.9", ("bob", "wrong")) == 401, "each username has its own limit"
    client.application.extensions["accounts"]._login_cache._logins.clear()  # as it expires after a minute
    assert asked_from(client, "10.0.0.1", ADA_BASIC) == 200
    answer = client.post("/login/", json=ADA, environ_base={"REMOTE_ADDR": "10.0.1.10"})
    assert_error(answer, 429)
    assert answer.get_json()["message"] == "too many wrong passwords for this username"
    assert int(answer.headers["Retry-After"]) == 60
    assert logins(client, 1, environ_base={"REMOTE_ADDR": "10.0.0.1"}) == [200]


def test_usernames_are_limited_regardless_of_case_and_width(make_app: Callable[..., Flask]) -> None:
    client = with_ada(make_app, RATE_LIMIT_USERNAME="2/minute")
    names = ["ada", "ADA", "\uff21da"]
    assert [asked_from(client, f"10.0.1.{n}", (name, "wrong")) for n, name in enumerate(names)] == [401, 401, 429]


def test_the_username_limit_holds_with_open_registration(make_app: Callable[..., Flask]) -> None:
    client = make_app(RATE_LIMIT_USERNAME="2/minute").test_client()
    assert logins(client, 1) == [200]
    wrong = {"username": "ada", "password": "wrong"}
    statuses = [
        client.post("/login/", json=wrong, environ_base={"REMOTE_ADDR": f"10.0.1.{number}"}).status_code
        for number in range(4)
    ]
    assert statuses == [401, 401, 429, 429]


@pytest.mark.redis
def test_two_servers_share_username_limits_and_known_clients(
    make_app: Callable[..., Flask], redis: RedisServer
) -> None:
    one, other = (
        make_app(REQUIRE_LOGIN=True, RATE_LIMIT_USERNAME="2/minute", RATE_LIMIT_STORAGE_URL=redis.url).test_client()
        for _ in range(2)
    )
    one.application.extensions["accounts"].add("grace", "correct horse")
    grace, wrong = ("grace", "correct horse"), ("grace", "wrong")
    assert asked_from(one, "10.0.0.1", grace) == 200
    assert [asked_from(each, f"10.0.1.{n}", wrong) for n, each in enumerate([one, other, one])] == [401, 401, 429]
    assert asked_from(other, "10.0.0.1", grace) == 200


def test_a_username_is_limited_without_the_storage(make_app: Callable[..., Flask]) -> None:
    settings = {"RATE_LIMIT_STORAGE_URL": f"redis://127.0.0.1:{free_port()}", "RATE_LIMIT_FAILURES": "off"}
    client = with_ada(make_app, RATE_LIMIT_USERNAME="2/minute", **settings)
    assert [asked_from(client, f"10.0.1.{number}", WRONG) for number in range(3)] == [401, 401, 429]


@pytest.mark.parametrize(
    ("remote", "counted"),
    [("10.0.0.1", "10.0.0.1"), ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"), ("2001:db8:1:2::9", "2001:db8:1:2::/64"),
     ("::ffff:10.0.0.1", "10.0.0.1"), ("fe80::1%eth0", "fe80::/64"), ("", "unknown"), ("me", "unknown")],
)  # fmt: skip
def test_clients_are_limited_by_ipv4_address_or_ipv6_network(client: FlaskClient, remote: str, counted: str) -> None:
    with client.application.test_request_context(environ_base={"REMOTE_ADDR": remote}):
        assert client_address() == counted


@pytest.mark.parametrize(("failures", "username"), [("30/minute", "100/hour"), ("off", "off")])
def test_switching_off_the_address_limit_switches_off_the_username_limit(
    make_app: Callable[..., Flask], failures: str, username: str
) -> None:
    assert make_app(RATE_LIMIT_FAILURES=failures).config["RATE_LIMIT_USERNAME"] == username


def test_light_requests_bypass_the_limiter(make_app: Callable[..., Flask]) -> None:
    app = make_app()
    assert [hook.__name__ for hook in app.before_request_funcs[None]] == ["reject_ambiguous_paths"]
    assert not app.teardown_request_funcs[None]
    hooks = [hook.__module__ for hook in app.after_request_funcs[None]]
    assert hooks == ["flaskapp.api.metrics", "flaskapp.api.response_headers"]


def test_without_the_storage_a_worker_counts_by_itself(
    make_app: Callable[..., Flask], caplog: pytest.LogCaptureFixture
) -> None:
    url = f"redis://:canary@127.0.0.1:{free_port()}"
    app = make_app(RATE_LIMIT_LOGIN="2/minute", RATE_LIMIT_FAILURES="2/minute", RATE_LIMIT_STORAGE_URL=url,
                   REQUIRE_LOGIN=True, REGISTRATION="open")  # fmt: skip
    with caplog.at_level(logging.INFO):
        assert logins(app.test_client(), 3) == [200, 200, 429]
        assert guesses(app.test_client(), 3) == [401, 401, 429]
    assert "falling back to in-memory storage" in caplog.text
    assert "canary" not in caplog.text


@pytest.mark.redis
def test_two_servers_share_limits_in_redis(make_app: Callable[..., Flask], redis: RedisServer) -> None:
    settings: dict[str, Any] = {"RATE_LIMIT_STORAGE_URL": redis.url, "REQUIRE_LOGIN": True, "REGISTRATION": "open"}
    one, other = (
        make_app(RATE_LIMIT_LOGIN="3/minute", RATE_LIMIT_FAILURES="3/minute", **settings).test_client()
        for _ in range(2)
    )
    assert logins(one, 2) + logins(other, 2) == [200, 200, 200, 429]
    assert guesses(one, 2) + guesses(other, 2) == [401, 401, 401, 429]


def burst(server: Server, times: int) -> Counter[int]:
    """Send logins with one name and two passwords, each with a forged address. Return the count of each status."""

    def login(number: int) -> int:
        form = {"username": "ada", "password": f"password {number % 2}"}
        headers = {"X-Forwarded-For": f"10.0.{number // 256}.{number % 256}"}
        answer = requests.post(server.url + "/login/", data=form, headers=headers, timeout=60)
        assert answer.status_code < 500 or "Retry-After" in answer.headers
        return answer.status_code

    with ThreadPoolExecutor(50) as pool:
        return Counter(pool.map(login, range(times)))


def names(database: Path) -> list[str]:
    accounts = Accounts(Database(f"sqlite:///{database}"))
    found = accounts.names()
    accounts.close()
    return found


def test_a_thousand_concurrent_logins_create_one_row_and_share_a_limit(
    start_server: Callable[..., Server], tmp_path: Path
) -> None:
    limits = {"FLASKAPP_RATE_LIMIT_LOGIN": "30/minute", "FLASKAPP_RATE_LIMIT_FAILURES": "off"}
    server = start_server("--workers", "3", FLASKAPP_DATABASE_URL=f"sqlite:///{tmp_path / 'burst.db'}", **limits)
    statuses = burst(server, 1000)
    assert statuses.keys() <= {200, 401, 429, 503}
    assert statuses[429] == 970
    assert names(tmp_path / "burst.db") == ["ada"]
    assert requests.get(server.url, timeout=30).status_code == 200


def test_all_workers_share_the_limit_of_wrong_passwords(start_server: Callable[..., Server]) -> None:
    server = start_server("--workers", "3", FLASKAPP_REQUIRE_LOGIN="true", FLASKAPP_RATE_LIMIT_FAILURES="6/minute")
    server.wait_for("Booting worker", times=3)
    url = server.url + "/text_model/?data=a"
    statuses = Counter(requests.get(url, auth=("ada", "wrong"), timeout=60).status_code for _ in range(12))
    assert statuses == {401: 6, 429: 6}, "each guess has its own connection and so any worker"


@pytest.mark.slow
def test_many_concurrent_logins_without_a_limit_create_one_row(
    start_server: Callable[..., Server], tmp_path: Path
) -> None:
    database = f"sqlite:///{tmp_path / 'burst.db'}"
    limits = {"FLASKAPP_RATE_LIMIT_LOGIN": "off", "FLASKAPP_RATE_LIMIT_FAILURES": "off"}
    server = start_server(FLASKAPP_DATABASE_URL=database, **limits)
    statuses = burst(server, 300)
    assert statuses.keys() <= {200, 401, 503}
    assert names(tmp_path / "burst.db") == ["ada"]
    assert requests.get(server.url, timeout=30).status_code == 200
