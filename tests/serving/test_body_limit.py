"""FLASKAPP_MAX_UPLOAD_MB is the limit of chunked bodies, too, with each kind of server."""

import json
from base64 import b64encode
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests

from tests.conftest import ASSETS, Server
from tests.serving.connections import TIMEOUT

LIMIT = 2**20  # bytes
STAR = (ASSETS / "star.png").read_bytes()
URLENCODED = "application/x-www-form-urlencoded"
TEXT = b'{"text_m": "what came of it"}'

# Content type, address, start of the body, and the byte that fills it.
BODIES = [
    ("image/png", "/image-to-text", STAR, b"\0"),
    ("application/json", "/text_model/", TEXT, b" "),
    ("application/json", "/v1/chat/completions", b"{}", b" "),
    (URLENCODED, "/login/", b"username=ada&password=", b"a"),
    ("text/plain", "/api/generate", b'{"stream": false}', b" "),
    ("application/octet-stream", "/v2/models/embedded/infer", b"{}", b" "),
]
SERVERS: dict[str, dict[str, Any]] = {
    "gevent": {},
    "gthread": {"command": "gunicorn --bind 127.0.0.1:{port} --worker-class gthread --threads 4 wsgi:app"},
    "flask run": {"command": "flask --app wsgi run --port {port}", "ready": "Running on"},
}


@pytest.fixture(scope="module", params=SERVERS)
def limited(request: pytest.FixtureRequest, start_server: Callable[..., Server]) -> Server:
    return start_server(FLASKAPP_MAX_UPLOAD_MB="1", **SERVERS[request.param])


def in_chunks(body: bytes) -> Iterator[bytes]:
    yield from (body[start : start + 2**16] for start in range(0, len(body), 2**16))


@pytest.mark.parametrize(("content_type", "address", "start", "filler"), BODIES, ids=[body[1] for body in BODIES])
def test_a_body_over_the_limit_gets_413_with_and_without_a_length(
    limited: Server, content_type: str, address: str, start: bytes, filler: bytes
) -> None:
    body = start.ljust(LIMIT + 1, filler)
    answers = [
        requests.post(limited.url + address, data=data, headers={"Content-Type": content_type}, timeout=TIMEOUT)
        for data in (body, in_chunks(body))
    ]
    assert [answer.status_code for answer in answers] == [413, 413]
    assert answers[0].json() == answers[1].json()
    assert "the body is larger than 1 MiB" in answers[1].text


@pytest.mark.parametrize(
    ("content_type", "address", "body"),
    [
        ("image/png", "/image-to-text", STAR),
        ("application/json", "/image-to-text", json.dumps({"inputs": b64encode(STAR).decode()}).encode()),
        (URLENCODED, "/login/", b"username=ada&password="),
    ],
    ids=["raw", "JSON", "urlencoded"],
)
def test_a_chunked_body_of_exactly_the_limit_is_read(
    limited: Server, content_type: str, address: str, body: bytes
) -> None:
    filled = body.ljust(LIMIT, b" ")
    answers = [
        requests.post(limited.url + address, data=data, headers={"Content-Type": content_type}, timeout=TIMEOUT)
        for data in (filled, in_chunks(filled))
    ]
    assert answers[1].status_code == answers[0].status_code
    assert answers[0].status_code in (200, 422)  # a password of a mebibyte is too long
    assert answers[1].json() == answers[0].json()
