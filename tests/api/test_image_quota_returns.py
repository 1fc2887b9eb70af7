"""RATE_LIMIT_IMAGES refunds unreadable images, and images that get no caption by the server's fault."""

import base64
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from flaskapp.images.encoded import BYTES_AT_ONCE, semaphore
from tests.api.test_caption_jobs import submit
from tests.api.test_image_quota import balance
from tests.conftest import ASSETS
from tests.redis_server import RedisServer, redis

__all__ = ["redis"]  # a fixture

STAR = (ASSETS / "star.png").read_bytes()
BROKEN = STAR[:3000]  # the header is whole, the decoder finds the truncation
QUOTA = {"RATE_LIMIT_IMAGES": "9 per hour"}


def form(client: FlaskClient, *files: bytes) -> TestResponse:
    return client.post("/caption/", data={"data": [(io.BytesIO(file), "x.png") for file in files]})


def chat(client: FlaskClient, *files: bytes, stream: bool = False) -> TestResponse:
    urls = [f"data:image/png;base64,{base64.b64encode(file).decode()}" for file in files]
    content = [{"type": "image_url", "image_url": {"url": url}} for url in urls]
    return client.post(
        "/v1/chat/completions", json={"messages": [{"role": "user", "content": content}], "stream": stream}
    )


def generate(client: FlaskClient, *files: bytes, stream: bool = False) -> TestResponse:
    body = {"images": [base64.b64encode(file).decode() for file in files], "stream": stream}
    return client.post("/api/generate", json=body)


def infer(client: FlaskClient, *files: bytes) -> TestResponse:
    data = [base64.b64encode(file).decode() for file in files]
    tensor = {"name": "image", "shape": [len(data)], "datatype": "BYTES", "data": data}
    return client.post("/v2/models/embedded/infer", json={"inputs": [tensor]})


def photoprism(client: FlaskClient, *files: bytes) -> TestResponse:
    return client.post("/api/v1/vision/caption", json={"images": [base64.b64encode(file).decode() for file in files]})


def image_to_text(client: FlaskClient, file: bytes) -> TestResponse:
    return client.post("/image-to-text", data=file)


def streamed_chat(client: FlaskClient, *files: bytes) -> TestResponse:
    return chat(client, *files, stream=True)


def streamed_generate(client: FlaskClient, *files: bytes) -> TestResponse:
    return generate(client, *files, stream=True)


SEVERAL = [form, chat, streamed_chat, generate, streamed_generate, infer, photoprism]


@pytest.mark.parametrize("ask", [*SEVERAL, image_to_text])
def test_an_unreadable_image_is_refunded(make_app: Callable[..., Flask], ask: Callable[..., Any]) -> None:
    client = make_app(**QUOTA).test_client()
    refused = ask(client, BROKEN)
    assert refused.status_code in (400, 422)
    assert balance(refused) == (9, 9)
    assert balance(ask(client, STAR)) == (9, 8)


@pytest.mark.parametrize("ask", [*SEVERAL, image_to_text])
def test_images_refused_by_a_busy_server_are_refunded(
    make_app: Callable[..., Flask], monkeypatch: pytest.MonkeyPatch, ask: Callable[..., Any]
) -> None:
    client = make_app(**QUOTA).test_client()
    monkeypatch.setattr(semaphore, "_wait", 0.01)  # not ten seconds
    with semaphore.take(BYTES_AT_ONCE):
        refused = ask(client, STAR)
    assert refused.status_code == 503
    assert balance(refused) == (9, 9)
    assert balance(ask(client, STAR)) == (9, 8)


def test_a_refused_request_is_refunded_as_a_whole(make_app: Callable[..., Flask]) -> None:
    client = make_app(**QUOTA).test_client()
    refused = form(client, STAR, BROKEN, STAR)
    assert (refused.status_code, balance(refused)) == (422, (9, 9))


def test_with_partial_only_captioned_images_count(make_app: Callable[..., Flask]) -> None:
    client = make_app(**QUOTA).test_client()
    files = [(io.BytesIO(data), "x.png") for data in (STAR, BROKEN, b"no image", STAR)]
    answer = client.post("/caption/", data={"data": files, "partial": "true"})
    assert ["captions" in result for result in answer.get_json()["results"]] == [True, False, False, True]
    assert balance(answer) == (9, 7)


def test_a_job_whose_images_cannot_be_stored_is_refunded(make_app: Callable[..., Flask], tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    client = make_app(BLOB_STORE=str(tmp_path / "file" / "blobs"), **QUOTA).test_client()
    refused = submit(client, "star.png", "star.png")
    assert (refused.status_code, balance(refused)) == (503, (9, 9))


def test_all_of_several_rates_are_refunded(make_app: Callable[..., Flask]) -> None:
    client = make_app(RATE_LIMIT_IMAGES="2/hour;3/day").test_client()
    assert [form(client, BROKEN).status_code for _ in range(4)] == [422] * 4
    assert balance(form(client, STAR, STAR)) == (2, 0)


@pytest.mark.redis
def test_images_are_refunded_in_redis(make_app: Callable[..., Flask], redis: RedisServer) -> None:
    client = make_app(RATE_LIMIT_STORAGE_URL=redis.url, **QUOTA).test_client()
    assert balance(form(client, STAR, STAR)) == (9, 7)
    assert balance(form(client, BROKEN, STAR)) == (9, 7)
    assert balance(form(client, STAR)) == (9, 6)
