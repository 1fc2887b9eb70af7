"""Logins, API tokens and quotas on the compatible APIs: clients send an API key and show the refusal."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import openai
import pytest
from flask import Flask
from flask.testing import FlaskClient

from tests.api.compatible.images import STAR, base64_of, data_url
from tests.api.compatible.test_openai import image, user
from tests.conftest import ROOT, Server, clean_environment

TENSOR = {"name": "image", "shape": [1], "datatype": "BYTES", "data": [base64_of("star.png")]}
CAPTIONS: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"messages": [user(image())]},
    "/api/generate": {"images": [base64_of("star.png")], "stream": False},
    "/api/chat": {"messages": [{"role": "user", "images": [base64_of("star.png")]}], "stream": False},
    "/v2/models/embedded/infer": {"inputs": [TENSOR]},
    "/api/v1/vision/caption": {"images": [data_url("star.png")]},
}
OTHERS = ("/v1/models", "/v1/models/embedded", "/api/tags", "/api/version", "/v2", "/v2/models/embedded")


@pytest.fixture
def app(make_app: Callable[..., Flask]) -> Flask:
    return make_app(REQUIRE_LOGIN="true", RATE_LIMIT_FAILURES="off")


@pytest.fixture
def key(app: Flask) -> dict[str, str]:
    return {"Authorization": f"Bearer {app.extensions['tokens'].create('a client')}"}


@pytest.mark.parametrize("path", CAPTIONS)
def test_an_endpoint_requires_a_valid_token(app: Flask, key: dict[str, str], path: str) -> None:
    client = app.test_client()
    for headers in ({}, {"Authorization": "Bearer wrong"}):
        refused = client.post(path, json=CAPTIONS[path], headers=headers)
        assert refused.status_code == 401
        assert refused.headers.getlist("WWW-Authenticate")
        assert "error" in refused.get_json(), "the error has the API's own shape"
    answer = client.post(path, json=CAPTIONS[path], headers=key)
    assert answer.status_code == 200
    assert STAR in answer.text


@pytest.mark.parametrize("path", OTHERS)
def test_the_model_endpoints_require_a_token(app: Flask, key: dict[str, str], path: str) -> None:
    client = app.test_client()
    assert client.get(path).status_code == 401
    assert client.get(path, headers=key).status_code == 200


def test_without_require_login_any_key_is_accepted(client: FlaskClient) -> None:
    headers = {"Authorization": "Bearer anything"}
    assert (
        client.post("/v1/chat/completions", json=CAPTIONS["/v1/chat/completions"], headers=headers).status_code == 200
    )


@pytest.mark.parametrize("path", CAPTIONS)
def test_images_count_towards_the_quota(make_app: Callable[..., Flask], path: str) -> None:
    client = make_app(RATE_LIMIT_IMAGES="1 per hour").test_client()
    answers = [client.post(path, json=CAPTIONS[path]) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [200, 429]
    assert [answer.headers["X-RateLimit-Remaining"] for answer in answers] == ["0", "0"]
    assert "image quota exceeded" in str(answers[1].get_json()["error"])


@pytest.mark.slow
def test_the_openai_client_sends_a_token_as_its_key_and_shows_the_refusal(
    start_server: Callable[..., Server], tmp_path: Path
) -> None:
    database = {"FLASKAPP_DATABASE_URL": f"sqlite:///{tmp_path / 'test.db'}"}
    server = start_server(
        "--workers", "1", FLASKAPP_REQUIRE_LOGIN="true", FLASKAPP_RATE_LIMIT_FAILURES="off", **database
    )
    create = [Path(sys.executable).with_name("flask"), "--app", "wsgi", "tokens", "create", "a client"]
    created = subprocess.run(
        create, cwd=ROOT, env=clean_environment() | database, capture_output=True, text=True, timeout=60
    )
    with openai.OpenAI(base_url=server.url + "/v1", api_key=created.stdout.strip(), max_retries=0) as client:
        answer = client.chat.completions.create(model="any", messages=[user(image())])  # type: ignore[list-item]
        assert answer.choices[0].message.content == STAR
    with (
        openai.OpenAI(base_url=server.url + "/v1", api_key="wrong", max_retries=0) as client,
        pytest.raises(openai.AuthenticationError, match="API token") as caught,
    ):
        client.models.list()
    assert (caught.value.type, caught.value.code) == ("authentication_error", "invalid_api_key")
