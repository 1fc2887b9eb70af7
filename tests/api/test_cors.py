"""CORS headers for pages of other origins."""

from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from playwright.sync_api import Browser
from werkzeug.test import TestResponse

from flaskapp.api.protected import MESSAGE
from tests.conftest import Server
from tests.free_port import free_port

PAGE, OTHER = "https://app.example", "https://evil.example"
PREFLIGHT = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization, x-stainless-os"}


def cors(answer: TestResponse) -> dict[str, str]:
    return {
        name.removeprefix("Access-Control-"): value
        for name, value in answer.headers
        if name.startswith("Access-Control-")
    }


@pytest.fixture
def shared(make_app: Callable[..., Flask]) -> FlaskClient:
    return make_app(CORS_ORIGINS=f"{PAGE}, http://localhost:3000", REQUIRE_LOGIN=True).test_client()


def test_without_the_setting_there_are_no_headers(client: FlaskClient) -> None:
    for answer in (
        client.get("/", headers={"Origin": PAGE}),
        client.options("/caption/", headers={"Origin": PAGE, **PREFLIGHT}),
    ):
        assert cors(answer) == {}
        assert "Origin" not in answer.headers.get("Vary", "")


@pytest.mark.parametrize("origin", [PAGE, "http://localhost:3000"])
def test_a_listed_origin_may_read_answers_and_their_headers(shared: FlaskClient, origin: str) -> None:
    answer = shared.get("/", headers={"Origin": origin})
    assert answer.status_code == 200
    headers = cors(answer)
    exposed = set(headers.pop("Expose-Headers").split(", "))
    assert headers == {"Allow-Origin": origin}
    assert {"Location", "Retry-After", "Link", "X-Request-ID", "Server-Timing", "X-RateLimit-Remaining"} <= exposed
    assert answer.headers.getlist("Vary") == ["Origin"]


@pytest.mark.parametrize("headers", [{}, {"Origin": OTHER}, {"Origin": "null"}, {"Origin": PAGE + ".evil.example"}])
def test_other_origins_get_no_headers_and_vary_separates_caches(shared: FlaskClient, headers: dict[str, str]) -> None:
    for answer in (shared.get("/", headers=headers), shared.options("/login/", headers=headers | PREFLIGHT)):
        assert cors(answer) == {}
        assert answer.headers.getlist("Vary") == ["Origin"]


def test_a_preflight_needs_no_login(shared: FlaskClient) -> None:
    answer = shared.options("/caption/", headers={"Origin": PAGE, **PREFLIGHT})
    assert (answer.status_code, answer.data) == (204, b"")
    headers = cors(answer)
    assert {"POST", "DELETE"} <= set(headers.pop("Allow-Methods").split(", "))
    assert headers == {
        "Allow-Origin": PAGE,
        "Allow-Headers": PREFLIGHT["Access-Control-Request-Headers"],
        "Max-Age": "3600",
    }
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


def test_a_preflight_with_invalid_header_names_allows_no_headers(shared: FlaskClient) -> None:
    headers = {"Origin": PAGE, **PREFLIGHT, "Access-Control-Request-Headers": "a: b\x7f"}
    assert "Allow-Headers" not in cors(shared.options("/caption/", headers=headers))


def test_options_without_preflight_headers_reaches_the_application(shared: FlaskClient) -> None:
    answer = shared.options("/items/5", headers={"Origin": PAGE})
    assert (answer.status_code, cors(answer)["Allow-Origin"]) == (200, PAGE)
    assert "GET" in answer.headers["Allow"]


def test_errors_have_the_headers_too(make_app: Callable[..., Flask]) -> None:
    app = make_app(CORS_ORIGINS=PAGE, MAX_UPLOAD_MB=1, RATE_LIMIT_LOGIN="1/minute")
    app.add_url_rule("/bug", view_func=lambda: 1 // 0)
    client, headers = app.test_client(), {"Origin": PAGE}
    login: dict[str, Any] = {"json": {"username": "ada", "password": "correct horse"}}
    upload: dict[str, Any] = {"data": bytes(2**21), "content_type": "multipart/form-data; boundary=x"}
    answers = {
        404: client.get("/nowhere", headers=headers),
        405: client.get("/caption/", headers=headers),
        413: client.post("/caption/", headers=headers, **upload),
        422: client.get("/items/foo", headers=headers),
        429: [client.post("/login/", headers=headers, **login) for _ in range(2)][-1],
        500: client.get("/bug", headers=headers),
    }
    protected = make_app(CORS_ORIGINS=PAGE, REQUIRE_LOGIN=True).test_client()
    answers[401] = protected.get("/text_model/?data=a", headers=headers)
    without_database = make_app(CORS_ORIGINS=PAGE, DATABASE_URL="sqlite:////dev/null/no/database").test_client()
    answers[503] = without_database.get("/readyz", headers=headers)
    assert {status: answer.status_code for status, answer in answers.items()} == {status: status for status in answers}
    for status, answer in answers.items():
        assert cors(answer)["Allow-Origin"] == PAGE, status


def test_a_star_allows_every_origin_without_credentials(make_app: Callable[..., Flask]) -> None:
    client = make_app(CORS_ORIGINS="*").test_client()
    for answer in (
        client.get("/", headers={"Origin": OTHER}),
        client.get("/"),
        client.options("/caption/", headers={"Origin": OTHER, **PREFLIGHT}),
    ):
        assert cors(answer)["Allow-Origin"] == "*"
        assert "Allow-Credentials" not in cors(answer)


CALL = """
    url => fetch(url + "/text_model/", {
        method: "POST",
        headers: {"Content-Type": "application/json", "Authorization": "Basic " + btoa("ada:wrong")},
        body: JSON.stringify({email: "mlops@gmail.com", domain_match: "gmail"}),
    }).then(
        async answer => [answer.status, (await answer.json()).message, answer.headers.get("X-Request-ID") !== null],
        error => [0, error.message, false],
    )
"""


@pytest.mark.browser
def test_only_a_page_of_a_listed_origin_reads_an_error(browser: Browser, start_server: Callable[..., Server]) -> None:
    port = free_port()
    start_server(
        command=f"gunicorn --workers 1 --bind 127.0.0.1:{port} wsgi:app",
        FLASKAPP_CORS_ORIGINS=f"http://app.localhost:{port}",
        FLASKAPP_REQUIRE_LOGIN="true",
    )
    read = {}
    for name in ("app", "evil"):
        page = browser.new_page(bypass_csp=True)  # the page is the server's own answer, which has a policy
        page.goto(f"http://{name}.localhost:{port}/")  # browsers resolve *.localhost to this machine
        read[name] = page.evaluate(CALL, f"http://127.0.0.1:{port}")
        page.close()
    assert read == {"app": [401, MESSAGE, True], "evil": [0, "Failed to fetch", False]}
