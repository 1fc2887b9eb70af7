from collections.abc import Callable

import pytest
from flask import Flask
from flask.testing import FlaskClient

EXPECTED = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
}


@pytest.mark.parametrize("path", ["/", "/items/5", "/items/foo", "/nowhere", "/caption/", "/openapi.json", "/docs"])
def test_every_answer_has_the_security_headers_once(client: FlaskClient, path: str) -> None:
    headers = client.get(path).headers
    assert {name: headers.getlist(name) for name in EXPECTED} == {name: [value] for name, value in EXPECTED.items()}


def test_error_answers_have_the_security_headers(make_app: Callable[..., Flask]) -> None:
    app = make_app(REQUIRE_LOGIN=True, RATE_LIMIT_LOGIN="1/minute")
    app.add_url_rule("/bug", view_func=lambda: 1 // 0)
    client = app.test_client()
    client.post("/login/")
    answers = [client.get("/bug"), client.get("/text_model/?data=a"), client.post("/login/")]
    assert [answer.status_code for answer in answers] == [500, 401, 429]
    for answer in answers:
        assert EXPECTED.items() <= dict(answer.headers).items()


@pytest.mark.parametrize("path", ["/swagger-ui", "/redoc"])
def test_a_page_keeps_its_own_content_security_policy(client: FlaskClient, path: str) -> None:
    headers = client.get(path).headers
    assert headers["X-Content-Type-Options"] == "nosniff"
    (policy,) = headers.getlist("Content-Security-Policy")
    assert "script-src 'self'" in policy


def test_no_answer_names_the_software(client: FlaskClient) -> None:
    assert not {"Server", "X-Powered-By"} & set(dict(client.get("/").headers))
