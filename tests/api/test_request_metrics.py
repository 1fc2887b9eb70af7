"""Request ids, Server-Timing and metrics of requests."""

import io
import re
from collections.abc import Callable

import pytest
from flask import Flask
from flask.testing import FlaskClient

from flaskapp import metrics
from flaskapp.metrics import Metrics
from tests.api.test_caption import asset
from tests.test_metrics import read


@pytest.fixture(autouse=True)
def fresh_metrics(monkeypatch: pytest.MonkeyPatch) -> Metrics:
    fresh = Metrics()
    monkeypatch.setattr(metrics, "current", fresh)
    return fresh


@pytest.mark.parametrize("path", ["/", "/items/foo", "/nowhere", "/caption/"])
def test_every_answer_has_its_request_s_id(client: FlaskClient, path: str) -> None:
    answer = client.get(path, headers={"X-Request-ID": "abc-123"})
    assert answer.headers.getlist("X-Request-ID") == ["abc-123"]


def test_a_request_without_an_id_gets_one_even_in_a_500(client: FlaskClient) -> None:
    client.application.add_url_rule("/bug", view_func=lambda: 1 // 0)
    answer = client.get("/bug")
    assert answer.status_code == 500
    assert re.fullmatch("[0-9a-f]{32}", answer.headers["X-Request-ID"])


def parts_of(timing: str) -> dict[str, float]:
    """Return milliseconds by the names of the parts."""
    return {name: float(ms) for name, ms in re.findall(r"(\w+);dur=([0-9.]+)(?:, |$)", timing)}


def test_a_caption_has_a_server_timing_header(client: FlaskClient) -> None:
    answer = client.post("/caption/", data={"data": [asset("star.png"), asset("star.png")]})
    parts = parts_of(answer.headers["Server-Timing"])
    assert list(parts) == ["decode", "queue", "model"]
    assert parts["decode"] > 0
    assert parts["model"] > 0


def test_a_resize_has_a_server_timing_header(client: FlaskClient) -> None:
    answer = client.post("/cv_model/", data={"data": asset("star.png")})
    assert list(parts_of(answer.headers["Server-Timing"])) == ["decode", "resize"]


def test_a_light_answer_has_no_server_timing_header(client: FlaskClient) -> None:
    assert "Server-Timing" not in client.get("/items/5").headers


def test_requests_are_counted_by_route_and_not_by_path(client: FlaskClient, fresh_metrics: Metrics) -> None:
    for path in ("/items/5", "/items/6/", "/items/foo", "/nowhere", "/elsewhere?q=1"):
        client.get(path)
    client.post("/items/5")
    assert read(fresh_metrics, "http_requests_total") == {
        ("GET", "/items/<item_id>", "200"): 2,
        ("GET", "/items/<item_id>", "422"): 1,
        ("GET", "unknown", "404"): 2,
        ("POST", "unknown", "405"): 1,
    }


def test_captions_their_tokens_and_batches_are_counted(client: FlaskClient, fresh_metrics: Metrics) -> None:
    form = {"data": [asset("star.png"), asset("star.png")], "config": '{"num_return_sequences": 2, "max_length": 5}'}
    assert client.post("/caption/", data=form).status_code == 200
    assert read(fresh_metrics, "captions_total") == {("embedded",): 4}
    assert read(fresh_metrics, "captioner_tokens_total") == {(): 4 * 4}, "the start token does not count"
    assert read(fresh_metrics, "captioner_batch_images_sum") == {(): 2}
    assert read(fresh_metrics, "captioner_waiting_images") == {(): 0}


def test_refusals_are_counted_by_the_name_of_the_error(make_app: Callable[..., Flask], fresh_metrics: Metrics) -> None:
    client = make_app(RATE_LIMIT_LOGIN="1/minute").test_client()
    for _ in range(3):
        client.post("/login/", json={"username": "ada", "password": "correct horse"})
    client.post("/cv_model/", data={"data": (io.BytesIO(b"<svg/>"), "a.svg")})
    assert read(fresh_metrics, "errors_total")[("TooManyAttempts",)] == 2


def test_metrics_are_served_in_the_prometheus_format(client: FlaskClient) -> None:
    client.get("/items/5")
    answer = client.get("/metrics")
    assert answer.content_type.startswith("text/plain; version=")
    assert 'flaskapp_http_requests_total{method="GET",route="/items/<item_id>",status="200"} 1.0' in answer.text
