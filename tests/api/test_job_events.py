"""The progress of a job as server-sent events."""

import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import pytest
import requests
from flask import Flask
from flask.testing import FlaskClient

from flaskapp.api.caption_jobs import events
from flaskapp.errors import DatabaseUnavailable
from flaskapp.jobs import progress
from flaskapp.jobs.claims import ChunkId, Outcome
from tests.api.test_caption_jobs import UNKNOWN_JOB, jobs_of, submit, work
from tests.conftest import Server, assert_error
from tests.jobs.cluster import scene, status_of
from tests.jobs.cluster import submit as submit_to
from tests.serving.connections import connected


class Event(NamedTuple):
    id: str
    job: dict[str, Any]


def parsed(text: str) -> Event | None:
    """Return the event of a block of lines, or None for a comment."""
    if text.startswith(":"):
        return None
    fields = dict(line.split(": ", 1) for line in text.splitlines())
    assert fields.keys() == {"id", "data"}
    return Event(fields["id"], json.loads(fields["data"]))


def all_events(client: FlaskClient, job: str) -> list[Event | None]:
    answer = client.get(job + "/events")
    assert answer.status_code == 200, answer.text
    return [parsed(part) for part in answer.text.split("\n\n")[:-1]]


@pytest.fixture
def client(make_app: Callable[..., Flask], monkeypatch: pytest.MonkeyPatch) -> FlaskClient:
    monkeypatch.setattr(progress, "POLL_INTERVAL", 0.01)
    return make_app(CAPTIONER_MAX_BATCH=1).test_client()


@contextmanager
def followed(client: FlaskClient, job: str) -> Iterator[Callable[[], str]]:
    """Yield a function that waits for the next part of a job's stream and returns "" at its end."""
    answer = client.get(job + "/events", buffered=False)
    assert answer.status_code == 200, answer.text
    parts = answer.iter_encoded()
    yield lambda: next(parts, b"").decode().removesuffix("\n\n")
    answer.close()


def test_each_change_is_an_event_with_the_job_s_status_until_it_ends(client: FlaskClient) -> None:
    job = submit(client, "star.png", "star.png").headers["Location"]
    ledger, job_id = jobs_of(client).ledger, job.rpartition("/")[2]
    with followed(client, job) as receive:
        event = parsed(receive())
        assert event == Event("queued-0-0", client.get(job).get_json())
        for number, expected in enumerate(["running-1-0", "done-1-1"]):
            claim = ledger.claim(ChunkId(job_id, number))
            assert claim is not None
            outcome = Outcome(error="broken") if number else Outcome(captions=["a star"])
            ids = []
            saver = threading.Thread(target=ledger.save, args=(claim, {number: outcome}))
            saver.start()
            while expected not in ids:  # intermediate states may appear
                event = parsed(receive())
                assert event is not None
                ids.append(event.id)
            saver.join()
        assert event is not None
        assert event.job == client.get(job).get_json()
        assert receive() == ""


def test_an_ended_job_is_one_event_and_a_reconnection_after_it_gets_204(client: FlaskClient) -> None:
    job = submit(client, "star.png").headers["Location"]
    work(client)
    (event,) = all_events(client, job)
    assert event == Event("done-1-0", client.get(job).get_json())
    again = client.get(job + "/events", headers={"Last-Event-ID": "done-1-0"})
    assert (again.status_code, again.data) == (204, b""), "204 stops an EventSource from reconnecting"
    assert client.get(job + "/events", headers={"Last-Event-ID": "running-0-0"}).status_code == 200


@pytest.mark.parametrize("deletions", [1, 2])
def test_a_cancelled_or_deleted_job_ends_its_stream(client: FlaskClient, deletions: int) -> None:
    job = submit(client, "star.png").headers["Location"]
    with followed(client, job) as receive:
        receive()
        for _ in range(deletions):
            client.delete(job)
        rest = list(iter(receive, ""))
        assert [part.splitlines()[0] for part in rest] == ["id: cancelled-0-0"] * (deletions == 1)


def test_comments_keep_an_idle_stream_open(client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "HEARTBEAT_INTERVAL", 0.02)
    job = submit(client, "star.png").headers["Location"]
    with followed(client, job) as receive:
        assert parsed(receive()) is not None
        assert [receive() for _ in range(3)] == [":"] * 3


def test_a_stream_survives_a_temporarily_unavailable_database(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = submit(client, "star.png").headers["Location"]
    jobs, failures = jobs_of(client), 3
    find = jobs.find

    def fail_first(job_id: str, owner: str) -> Any:
        nonlocal failures
        failures -= 1
        if failures >= 0:
            raise DatabaseUnavailable("away")
        return find(job_id, owner)

    with followed(client, job) as receive:
        receive()
        monkeypatch.setattr(jobs, "find", fail_first)
        work(client)
        assert list(iter(receive, ""))[-1].startswith("id: done-1-0\n")
    assert failures < 0


def test_errors_are_answered_before_the_stream_starts(client: FlaskClient, make_app: Callable[..., Flask]) -> None:
    assert_error(client.get(UNKNOWN_JOB + "/events"), 404)
    assert_error(client.get("/caption_jobs/1/events"), 422, "path", "job_id")
    assert_error(make_app(REQUIRE_LOGIN=True).test_client().get(UNKNOWN_JOB + "/events"), 401)


def test_the_streams_of_a_process_are_limited_and_released_at_their_end(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "_free_streams", threading.BoundedSemaphore(1))
    job = submit(client, "star.png").headers["Location"]
    with followed(client, job) as receive:
        receive()
        answer = client.get(job + "/events")
        assert_error(answer, 503)
        assert int(answer.headers["Retry-After"]) > 0
    assert client.head(job + "/events", buffered=True).status_code == 200
    with followed(client, job):
        pass  # ended before its first event
    work(client)
    assert all_events(client, job)


def streamed(url: str) -> list[Event | None]:
    with requests.get(url + "/events", stream=True, timeout=60) as answer:
        assert answer.headers["Content-Type"].startswith("text/event-stream")
        assert (answer.headers["Cache-Control"], answer.headers["X-Accel-Buffering"]) == ("no-cache", "no")
        return [parsed(part) for part in answer.iter_lines(decode_unicode=True, delimiter="\n\n") if part]


def test_the_server_streams_a_job_to_several_clients_until_its_end(server: Server) -> None:
    job = submit_to(server.url, [scene(0)[0]] * 40)
    with ThreadPoolExecutor(30) as pool:
        streams = list(pool.map(streamed, [job] * 30))
    last = status_of(job)
    for stream in streams:
        seen = [event for event in stream if event is not None]
        assert seen[-1].job == last
        assert last is not None
        assert last["state"] == "done"
        assert len({event.id for event in seen}) == len(seen)
        assert [event.job["done"] for event in seen] == sorted(event.job["done"] for event in seen)


@pytest.mark.parametrize("arguments", [(), ("--worker-class", "gthread", "--threads", "4")])
def test_a_disconnected_client_ends_its_stream_and_a_stopping_server_ends_all(
    start_server: Callable[..., Server], arguments: tuple[str, ...]
) -> None:
    server = start_server("--workers", "1", *arguments)
    job = submit_to(server.url, [scene(0)[0]] * 1000)
    path = urlsplit(job).path + "/events"
    with connected(server) as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        received = b""
        while b"data: " not in received:
            received += connection.recv(4096)
    server.wait_for(f"GET {path}")  # logged when the stream has ended
    assert status_of(job)["state"] in ("queued", "running")  # type: ignore[index]
    with ThreadPoolExecutor(1) as pool, requests.get(job + "/events", stream=True, timeout=60) as answer:
        lines = answer.iter_lines()
        assert next(lines).startswith(b"id: ")
        rest = pool.submit(list, lines)
        server.process.terminate()
        assert not any(b'"done"' in line and b'"state": "done"' in line for line in rest.result(20))
    assert server.process.wait(25) == 0


def test_a_client_that_closes_its_sending_half_gets_only_events(server: Server) -> None:
    """`client_disconnect` probes such clients with 100 Continue, which would corrupt a stream."""
    job = submit_to(server.url, [scene(0)[0]] * 200)
    with connected(server) as connection:
        connection.sendall(f"GET {urlsplit(job).path}/events HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        connection.shutdown(1)  # SHUT_WR
        received = b"".join(iter(partial(connection.recv, 4096), b""))
    assert received.count(b"HTTP/1.1") == 1
    assert b"100 Continue" not in received
