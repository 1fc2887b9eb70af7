"""RATE_LIMIT_IMAGES: the quota of captioned images of each client."""

import io
import math
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from tests.api.test_caption import asset
from tests.api.test_caption_jobs import submit
from tests.conftest import ASSETS, Server, assert_error
from tests.free_port import free_port
from tests.jobs.cluster import zip_of
from tests.redis_server import RedisServer, redis

__all__ = ["redis"]  # a fixture

HEADERS = ("X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset")


def caption(client: FlaskClient, images: int = 1, **options: Any) -> TestResponse:
    data = {"data": [asset("star.png") for _ in range(images)], "config": '{"num_beams": 1, "max_new_tokens": 1}'}
    return client.post("/caption/", data=data, **options)


def image_to_text(client: FlaskClient, **options: Any) -> TestResponse:
    return client.post("/image-to-text?num_beams=1", data=(ASSETS / "star.png").read_bytes(), **options)


def balance(answer: Any) -> tuple[int, int]:
    """Return the quota's images and the remaining ones, from the headers."""
    return int(answer.headers["X-RateLimit-Limit"]), int(answer.headers["X-RateLimit-Remaining"])


def assert_refused(answer: TestResponse, message: str) -> None:
    assert answer.status_code == 429
    assert answer.get_json()["message"] == message
    assert 0 < int(answer.headers["Retry-After"]) <= 3600
    reset = int(answer.headers["X-RateLimit-Reset"])
    assert abs(reset - time.time() - int(answer.headers["Retry-After"])) <= 2


def test_all_endpoints_together_count_images_and_not_requests(make_app: Callable[..., Flask]) -> None:
    client = make_app(RATE_LIMIT_IMAGES="10 per hour").test_client()
    answers = [caption(client, 3), image_to_text(client), submit(client, *["star.png"] * 2), caption(client)]
    assert [answer.status_code for answer in answers] == [200, 200, 202, 200]
    assert [balance(answer) for answer in answers] == [(10, 7), (10, 6), (10, 4), (10, 3)]
    assert all(
        time.time() < int(each.headers["X-RateLimit-Reset"]) <= math.ceil(time.time()) + 3600 for each in answers
    )


def test_a_refused_request_does_not_count(make_app: Callable[..., Flask]) -> None:
    client = make_app(RATE_LIMIT_IMAGES="3 per hour").test_client()
    assert balance(caption(client, 2)) == (3, 1)
    for _ in range(3):
        answer = caption(client, 2)
        assert_error(answer, 429)
        assert_refused(answer, "image quota exceeded: 2 images requested, 1 left of 3 per 1 hour")
        assert balance(answer) == (3, 1)
    assert balance(caption(client)) == (3, 0)
    answer = image_to_text(client)
    assert_refused(answer, "image quota exceeded: 1 images requested, 0 left of 3 per 1 hour")
    assert answer.get_json()["error"] == answer.get_json()["message"]


def test_invalid_input_does_not_count(make_app: Callable[..., Flask]) -> None:
    client = make_app(RATE_LIMIT_IMAGES="1 per hour").test_client()
    assert client.post("/caption/", data={"data": asset("star.png"), "config": "{"}).status_code == 400
    assert client.post("/image-to-text", data=b"no image").status_code >= 400
    assert submit(client).status_code == 422
    assert caption(client).status_code == 200


def test_a_job_counts_the_images_of_its_zip_once(make_app: Callable[..., Flask]) -> None:
    client = make_app(RATE_LIMIT_IMAGES="5 per hour").test_client()
    star = (ASSETS / "star.png").read_bytes()

    def send(images: int, key: str) -> TestResponse:
        archive = (io.BytesIO(zip_of([star] * images)), "images.zip")
        return submit(client, archive, headers={"Idempotency-Key": key})

    first = send(3, "one")
    assert (first.status_code, balance(first)) == (202, (5, 2))
    again = send(3, "one")
    assert (again.status_code, again.headers["Location"]) == (202, first.headers["Location"])
    assert_refused(send(3, "two"), "image quota exceeded: 3 images requested, 2 left of 5 per 1 hour")
    assert balance(send(2, "two")) == (5, 0)


def test_a_job_refused_by_another_limit_does_not_count(make_app: Callable[..., Flask]) -> None:
    client = make_app(RATE_LIMIT_IMAGES="5 per hour", MAX_CLIENT_JOBS=1).test_client()
    assert balance(submit(client, "star.png")) == (5, 4)
    assert_error(submit(client, "star.png"), 429)
    assert balance(caption(client)) == (5, 3)


def test_a_job_refused_by_the_quota_is_not_created(make_app: Callable[..., Flask]) -> None:
    client = make_app(RATE_LIMIT_IMAGES="1 per hour", MAX_CLIENT_JOBS=1).test_client()
    assert_error(submit(client, *["star.png"] * 2), 429)
    assert submit(client, "star.png").status_code == 202


def test_each_address_has_its_own_quota(make_app: Callable[..., Flask]) -> None:
    client = make_app(RATE_LIMIT_IMAGES="1 per hour").test_client()
    addresses = ["10.0.0.1", "10.0.0.1", "10.0.0.2"]
    answers = [caption(client, environ_base={"REMOTE_ADDR": address}) for address in addresses]
    assert [answer.status_code for answer in answers] == [200, 429, 200]


def test_each_login_and_each_token_has_its_own_quota_across_addresses(make_app: Callable[..., Flask]) -> None:
    app = make_app(RATE_LIMIT_IMAGES="1 per hour", REQUIRE_LOGIN=True)
    client = app.test_client()
    ways: list[dict[str, Any]] = []
    for name in ("ada", "bob"):
        app.extensions["accounts"].add(name, "correct horse")
        ways.append({"auth": (name, "correct horse")})
        token = app.extensions["tokens"].create(name)
        ways.append({"headers": {"Authorization": f"Bearer {token}"}})
    for way in ways:
        answers = [caption(client, environ_base={"REMOTE_ADDR": f"10.0.0.{number}"}, **way) for number in range(2)]
        assert [answer.status_code for answer in answers] == [200, 429]
    answer = caption(client)
    assert answer.status_code == 401
    assert not [name for name in HEADERS if name in answer.headers]


def test_of_several_rates_each_holds_and_the_headers_show_the_tightest(make_app: Callable[..., Flask]) -> None:
    client = make_app(RATE_LIMIT_IMAGES="3/hour;4/day").test_client()
    assert balance(caption(client, 2)) == (3, 1)
    answer = caption(client, 2)
    assert answer.status_code == 429
    assert balance(answer) == (3, 1)


def test_without_the_setting_there_are_no_quota_headers(client: FlaskClient) -> None:
    answer = caption(client)
    assert answer.status_code == 200
    assert not [name for name in HEADERS if name in answer.headers]


def test_without_the_storage_the_worker_counts_by_itself(make_app: Callable[..., Flask]) -> None:
    url = f"redis://:canary@127.0.0.1:{free_port()}"
    client = make_app(RATE_LIMIT_IMAGES="2 per hour", RATE_LIMIT_STORAGE_URL=url).test_client()
    assert [caption(client).status_code for _ in range(3)] == [200, 200, 429]


@pytest.mark.redis
def test_two_servers_share_a_quota_in_redis(make_app: Callable[..., Flask], redis: RedisServer) -> None:
    settings = {"RATE_LIMIT_IMAGES": "5 per hour", "RATE_LIMIT_STORAGE_URL": redis.url}
    one, other = (make_app(**settings).test_client() for _ in range(2))
    answers = [caption(one, 3), caption(other, 3), caption(other, 2)]
    assert [answer.status_code for answer in answers] == [200, 429, 200]
    assert [balance(answer) for answer in answers] == [(5, 2), (5, 2), (5, 0)]


def test_all_workers_share_the_quota(start_server: Callable[..., Server]) -> None:
    server = start_server("--workers", "2", FLASKAPP_RATE_LIMIT_IMAGES="8 per hour")
    star = (ASSETS / "star.png").read_bytes()

    def ask(_: int) -> int:
        return requests.post(server.url + "/image-to-text?num_beams=1", data=star, timeout=60).status_code

    with ThreadPoolExecutor(8) as pool:
        assert Counter(pool.map(ask, range(16))) == {200: 8, 429: 8}
