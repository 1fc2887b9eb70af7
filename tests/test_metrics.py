"""Metrics of one process. serving/test_metrics_files.py tests several processes."""

import subprocess
import sys
import time
from http import HTTPStatus
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from flaskapp.errors import MetricsUnavailable, TooBusy
from flaskapp.metrics import MAX_SERIES, Metrics
from tests.conftest import ROOT


def read(metrics: Metrics, name: str) -> dict[tuple[str, ...], float]:
    """Return a metric's samples by the values of their labels, in the order of the labels' names."""
    return {
        tuple(value for _, value in sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(metrics.render().decode())
        for sample in family.samples
        if sample.name == f"flaskapp_{name}"
    }


def test_a_request_is_counted_and_timed_by_method_route_and_status() -> None:
    metrics = Metrics()
    metrics.count_request("GET", "/items/<item_id>", 200, 0.002)
    metrics.count_request("GET", "/items/<item_id>", 200, 40.0)
    metrics.count_request("POST", "/caption/", 503, 0.5)
    assert read(metrics, "http_requests_total") == {
        ("GET", "/items/<item_id>", "200"): 2,
        ("POST", "/caption/", "503"): 1,
    }
    assert read(metrics, "http_request_duration_seconds_sum") == {
        ("GET", "/items/<item_id>", "200"): 40.002,
        ("POST", "/caption/", "503"): 0.5,
    }
    assert read(metrics, "http_request_duration_seconds_bucket")["0.005", "GET", "/items/<item_id>", "200"] == 1


def test_an_unknown_method_creates_no_series() -> None:
    metrics = Metrics()
    for number in range(1000):
        metrics.count_request(f"M{number}", "unknown", 405, 0.001)
    assert read(metrics, "http_requests_total") == {("other", "unknown", "405"): 1000}


def test_the_number_of_series_is_limited_and_every_request_is_counted() -> None:
    metrics = Metrics()
    for number in range(2 * MAX_SERIES):
        metrics.count_request("GET", f"/{number}", 200, 0.001)
    counted = read(metrics, "http_requests_total")
    assert len(counted) == MAX_SERIES + 1
    assert sum(counted.values()) == 2 * MAX_SERIES


def test_refusals_errors_and_captions_are_counted_by_kind() -> None:
    metrics = Metrics()
    metrics.count_refusal(HTTPStatus.REQUEST_TIMEOUT)
    metrics.count_error(TooBusy("too many", retry_after=1))
    metrics.count_captions("embedded", 3)
    assert read(metrics, "http_refusals_total") == {("408",): 1}
    assert read(metrics, "errors_total") == {("TooBusy",): 1}
    assert read(metrics, "captions_total") == {("embedded",): 3}


def test_images_and_tokens_are_counted_by_decoder_and_the_model_s_decoder_is_shown() -> None:
    metrics = Metrics()
    metrics.set_decoder("embedded", "fast")
    metrics.count_image(is_fast=True, tokens=9)
    metrics.count_image(is_fast=True, tokens=7)
    metrics.count_image(is_fast=False, tokens=5)
    assert read(metrics, "captioner_decoder") == {("fast", "embedded"): 1}
    assert read(metrics, "captioner_images_total") == {("fast",): 2, ("generate",): 1}
    assert read(metrics, "captioner_tokens_total") == {(): 21}


def test_the_age_of_the_oldest_waiting_image_grows_until_the_queue_is_empty() -> None:
    metrics = Metrics()
    assert read(metrics, "captioner_oldest_waiting_seconds") == {(): 0}
    metrics.set_waiting(3, time.perf_counter() - 60)
    assert read(metrics, "captioner_waiting_images") == {(): 3}
    ages = [read(metrics, "captioner_oldest_waiting_seconds")[()] for _ in range(2)]
    assert 60 <= ages[0] < ages[1] < 90
    metrics.set_waiting(0, None)
    assert read(metrics, "captioner_oldest_waiting_seconds") == {(): 0}


def test_partial_metrics_are_not_served() -> None:
    metrics = Metrics(is_partial=True)
    metrics.count_request("GET", "/", 200, 0.001)
    with pytest.raises(MetricsUnavailable):
        metrics.render()


TORN = {
    "empty": b"",
    "short": b"\x40",
    "cut": (200).to_bytes(4, "little") + bytes(4) + (90).to_bytes(4, "little") + b'["flaskapp_',
    "no JSON": (40).to_bytes(4, "little") + bytes(4) + (12).to_bytes(4, "little") + b"no JSON here" + bytes(16 + 4),
    "too long": (2**31 - 1).to_bytes(4, "little") + b"\xff" * 100,
}


@pytest.mark.parametrize("name", [*(f"counter_{kind}.db" for kind in TORN), "gauge.db"])
def test_an_unreadable_file_is_left_out_and_named_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    script = (
        "from flaskapp import metrics; metrics.share(Path(sys.argv[1]), '1-0'); metrics.current.count_captions('a', 3)"
    )
    command = [sys.executable, "-c", f"import sys; from pathlib import Path; {script}", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True)
    metrics = Metrics(tmp_path)
    assert read(metrics, "captions_total") == {("a",): 3}
    kind = name.removeprefix("counter_").removesuffix(".db")
    (tmp_path / name).write_bytes(TORN.get(kind, b""))
    for _ in range(2):
        assert read(metrics, "captions_total") == {("a",): 3}
    assert caplog.text.count(f"{tmp_path / name} are skipped") == 1
