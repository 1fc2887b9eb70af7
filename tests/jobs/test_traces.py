"""The distributed trace of a job's request is continued in workers, their logs and webhooks."""

import io
import json
import logging
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
import requests
from flask import Flask
from flask.testing import FlaskClient

from flaskapp import trace_context
from flaskapp.serving.json_log import TextFormatter
from tests.api.test_caption_jobs import asset, jobs_of, work
from tests.conftest import ASSETS, Server
from tests.jobs.cluster import Workers, poll_until
from tests.jobs.test_webhooks import Receiver, client, make_due, port, submit
from tests.test_fetch import public
from tests.test_trace_context import PARENT_ID, TRACE_ID, TRACEPARENT
from tests.tls import certificate

__all__ = ["certificate", "client", "port", "public"]  # fixtures

OTHER_TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
HEADERS = {"traceparent": TRACEPARENT}


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """Return a buffer with the log lines of a worker."""
    handler = logging.StreamHandler(io.StringIO())
    handler.setFormatter(TextFormatter())
    root = logging.getLogger()
    root.addHandler(handler)
    before = root.level
    root.setLevel(logging.INFO)
    yield handler.stream
    root.setLevel(before)
    root.removeHandler(handler)


def traces_of(log: str, text: str) -> list[str]:
    """Return the trace ids at the ends of lines with a text, "" if there is none."""
    return [line.partition(" trace_id=")[2] for line in log.splitlines() if text in line]


@pytest.mark.usefixtures("public")
def test_a_webhook_continues_the_trace_of_its_job_at_each_attempt(
    client: FlaskClient, port: int, log: io.StringIO
) -> None:
    submit(client, f"https://localhost:{port}/", headers=HEADERS)
    work(client)
    client.get("/", headers={"traceparent": TRACEPARENT.replace(TRACE_ID, OTHER_TRACE_ID)})
    Receiver.statuses = [500]
    for _ in range(2):
        assert jobs_of(client).webhooks.send_next()
        make_due(client)
    sent = [Receiver.received.get(timeout=10).headers["traceparent"] for _ in range(2)]
    for header in sent:
        assert trace_context.parse(header) == header
        assert header.startswith(f"00-{TRACE_ID}-")
    assert len({TRACEPARENT, *sent}) == 3
    assert traces_of(log.getvalue(), "was not received") == [TRACE_ID]


@pytest.mark.usefixtures("public")
@pytest.mark.parametrize("headers", [{}, {"traceparent": f"00-{'0' * 32}-{PARENT_ID}-01"}, {"traceparent": "canary"}])
def test_a_job_without_a_valid_header_belongs_to_no_trace(
    client: FlaskClient, port: int, log: io.StringIO, headers: dict[str, str]
) -> None:
    client.get("/", headers=HEADERS)
    assert submit(client, f"https://localhost:{port}/", headers=headers).status_code == 202
    work(client)
    assert jobs_of(client).webhooks.send_next()
    assert "Traceparent" not in {name.title() for name in Receiver.received.get(timeout=10).headers}
    assert traces_of(log.getvalue(), "is done") == [""]


def test_a_repeated_request_does_not_change_its_job_s_trace(client: FlaskClient, log: io.StringIO) -> None:
    other = {"traceparent": TRACEPARENT.replace(TRACE_ID, OTHER_TRACE_ID)}
    for headers in (HEADERS, other):
        form = {"data": [asset("star.png")]}
        client.post("/caption_jobs/", data=form, headers=headers | {"Idempotency-Key": "my-pictures"})
    work(client)
    assert traces_of(log.getvalue(), "is done") == [TRACE_ID]


@pytest.mark.slow
def test_log_lines_of_a_server_s_worker_have_the_job_s_trace(start_server: Callable[..., Server]) -> None:
    server = start_server("--workers", "1", FLASKAPP_LOG_FORMAT="json")
    locations = {}
    for trace_id in (TRACE_ID, OTHER_TRACE_ID):
        answer = requests.post(
            server.url + "/caption_jobs/",
            files={"data": (ASSETS / "star.png").read_bytes()},
            headers={"traceparent": f"00-{trace_id}-{PARENT_ID}-00"},
            timeout=60,
        )
        locations[answer.json()["id"]] = trace_id
    server.wait_for("is done", times=2)
    lines: list[dict[str, str]] = [json.loads(line) for line in server.lines if "is done" in line]
    done = {line["message"]: line["trace_id"] for line in lines}
    assert done == {f"Chunk 0 of job {job_id} is done": trace_id for job_id, trace_id in locations.items()}


@pytest.mark.slow
def test_log_lines_of_a_celery_worker_have_the_job_s_trace(make_app: Callable[..., Flask], tmp_path: Path) -> None:
    client = make_app().test_client()
    answer = client.post("/caption_jobs/", data={"data": [asset("star.png")]}, headers=HEADERS)
    settings = {
        "FLASKAPP_DATABASE_URL": client.application.config["DATABASE_URL"],
        "FLASKAPP_CAPTIONER_MODEL": "embedded",
    }
    workers = Workers(settings, tmp_path / "workers")
    workers.start()
    try:
        find = partial(client.get, answer.headers["Location"])
        poll_until(lambda status: status["state"] == "done", lambda: find().get_json(), 120)
    finally:
        workers.stop()
    assert traces_of(workers.logs(), f"Chunk 0 of job {answer.get_json()['id']} is done") == [TRACE_ID]
