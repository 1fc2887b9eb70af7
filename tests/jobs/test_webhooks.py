"""Webhooks are signed, sent only to allowed hosts, and retried after failures."""

import hashlib
import hmac
import http.server
import io
import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue
from typing import Any, NamedTuple

import pytest
from flask import Flask
from flask.testing import FlaskClient
from jsonschema import Draft202012Validator
from sqlalchemy import update
from werkzeug.test import TestResponse

from flaskapp import fetch
from flaskapp.errors import InvalidSetting
from flaskapp.jobs import webhooks
from flaskapp.jobs.tables import Job
from tests.api.test_caption_jobs import asset, jobs_of, work
from tests.conftest import assert_error
from tests.documents import DOCS, blocks
from tests.test_fetch import public
from tests.tls import Certificate, certificate, serving

__all__ = ["certificate", "public"]  # fixtures

SECRET = "correct horse battery staple"


class Received(NamedTuple):
    path: str
    headers: dict[str, str]
    body: bytes


class Receiver(http.server.BaseHTTPRequestHandler):
    received: SimpleQueue[Received]
    statuses: list[int]  # of the next answers, then 204

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        Receiver.received.put(Received(self.path, dict(self.headers), body))
        self.send_response(Receiver.statuses.pop(0) if Receiver.statuses else 204)
        self.send_header("Location", "/elsewhere")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Log nothing: the tests read `received`."""


@pytest.fixture
def port(certificate: Certificate) -> Iterator[int]:
    """Yield the port of a TLS receiver."""
    Receiver.received, Receiver.statuses = SimpleQueue(), []
    with serving(Receiver, certificate) as port:
        yield port


@pytest.fixture
def client(make_app: Callable[..., Flask], port: int) -> FlaskClient:
    return make_app(WEBHOOK_HOSTS=f"hooks.example.com,localhost:{port}", WEBHOOK_SECRET=SECRET).test_client()


def submit(client: FlaskClient, webhook: str, **options: Any) -> TestResponse:
    return client.post("/caption_jobs/", data={"data": [asset("star.png")], "webhook": webhook}, **options)


def make_due(client: FlaskClient) -> None:
    """Make the next attempt due."""
    with jobs_of(client).ledger._database.session() as session:
        session.execute(update(Job).where(Job.webhook_due_at.is_not(None)).values(webhook_due_at=0.0))


@pytest.mark.usefixtures("public")
def test_an_ended_job_posts_its_status_with_a_signature(client: FlaskClient, port: int) -> None:
    location = submit(client, f"https://localhost:{port}/hook?token=x").headers["Location"]
    sender = jobs_of(client).webhooks
    assert not sender.send_next(), "the job has not ended"
    work(client)
    assert jobs_of(client).ledger.has_work(), "the worker stays for the webhook"
    assert sender.send_next()
    received = Receiver.received.get(timeout=10)
    assert received.path == "/hook?token=x"
    assert received.headers["Host"] == f"localhost:{port}"
    assert received.headers["Content-Type"] == "application/json"
    expected = hmac.new(SECRET.encode(), received.body, hashlib.sha256).hexdigest()
    assert received.headers["X-Flaskapp-Signature"] == f"sha256={expected}"
    documented: dict[str, Any] = {}
    exec(blocks(DOCS / "jobs.md", "python")[0], documented)
    assert documented["is_genuine"](SECRET.encode(), received.body, received.headers["X-Flaskapp-Signature"])
    assert not documented["is_genuine"](b"another", received.body, received.headers["X-Flaskapp-Signature"])
    assert json.loads(received.body) == client.get(location).get_json()
    assert json.loads(received.body)["state"] == "done"
    assert not sender.send_next()
    assert Receiver.received.empty()
    assert not jobs_of(client).ledger.has_work()


@pytest.mark.usefixtures("public")
def test_a_cancelled_job_posts_its_status_and_a_deleted_one_nothing(client: FlaskClient, port: int) -> None:
    url = f"https://localhost:{port}/"
    cancelled, deleted = (submit(client, url).headers["Location"] for _ in range(2))
    client.delete(cancelled)
    for _ in range(2):
        client.delete(deleted)
    while jobs_of(client).webhooks.send_next():
        pass
    assert json.loads(Receiver.received.get(timeout=10).body)["state"] == "cancelled"
    assert Receiver.received.empty()


@pytest.mark.usefixtures("public")
def test_a_failed_webhook_is_retried_later_a_limited_number_of_times(client: FlaskClient, port: int) -> None:
    location = submit(client, f"https://localhost:{port}/").headers["Location"]
    work(client)
    attempts = len(webhooks.RETRY_DELAYS) + 1
    Receiver.statuses = [500, 302, 404] + [503] * (attempts - 3)
    for _ in range(attempts):
        assert jobs_of(client).webhooks.send_next()
        assert not jobs_of(client).webhooks.send_next(), "the retry is not immediate"
        make_due(client)
    assert not jobs_of(client).webhooks.send_next()
    paths = [Receiver.received.get(timeout=10).path for _ in range(attempts)]
    assert paths == ["/"] * attempts, "no redirect is followed"
    assert Receiver.received.empty()
    assert client.get(location).get_json()["state"] == "done"


@pytest.mark.usefixtures("public")
def test_a_webhook_is_sent_by_one_of_several_workers(client: FlaskClient, port: int) -> None:
    submit(client, f"https://localhost:{port}/")
    work(client)
    with ThreadPoolExecutor(4) as pool:
        sent = list(pool.map(lambda _: jobs_of(client).webhooks.send_next(), range(4)))
    assert sent.count(True) == 1
    Receiver.received.get(timeout=10)
    assert Receiver.received.empty()


@pytest.mark.usefixtures("public")
def test_a_worker_s_thread_sends_due_webhooks(client: FlaskClient, port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhooks, "POLL_INTERVAL", 3600.0)  # sends once, because the thread outlives the test
    submit(client, f"https://localhost:{port}/")
    work(client)
    jobs_of(client).webhooks.start()
    assert json.loads(Receiver.received.get(timeout=30).body)["state"] == "done"


def test_an_allowed_host_with_a_private_address_gets_no_webhook(
    client: FlaskClient, port: int, caplog: pytest.LogCaptureFixture
) -> None:
    """The DNS may change after the operator allowed the name."""
    submit(client, f"https://localhost:{port}/hook?token=canary")
    work(client)
    assert jobs_of(client).webhooks.send_next()
    assert Receiver.received.empty()
    assert "localhost is not a public host" in caplog.text
    assert "canary" not in caplog.text


def test_an_untrusted_certificate_is_refused(
    client: FlaskClient, port: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(fetch, "is_public", lambda _: True)
    submit(client, f"https://localhost:{port}/")
    work(client)
    assert jobs_of(client).webhooks.send_next()
    assert Receiver.received.empty()
    assert "SSLCertVerificationError" in caplog.text


@pytest.mark.parametrize(
    "url",
    ["http://hooks.example.com/", "https://hooks.example.com:8443/", "https://ada:secret@hooks.example.com/",
     "https://elsewhere.example/", "https://hooks.example.com.elsewhere.example/", "ftp://hooks.example.com/", "x",
     "https://hooks.example.com/" + "x" * 2048, "https://169.254.169.254/", "https://hooks.example.com:x/"],
)  # fmt: skip
def test_a_url_that_is_not_allowed_is_refused_and_named(client: FlaskClient, url: str) -> None:
    assert_error(submit(client, url), 422, "multipart", "webhook")


@pytest.mark.parametrize("hosts", ["hooks.example.com", ""])
def test_an_empty_webhook_is_none(make_app: Callable[..., Flask], hosts: str) -> None:
    client = make_app(WEBHOOK_HOSTS=hosts, WEBHOOK_SECRET=SECRET if hosts else "").test_client()
    assert submit(client, "").status_code == 202


def test_without_hosts_a_webhook_is_refused_with_the_reason(make_app: Callable[..., Flask]) -> None:
    answer = submit(make_app().test_client(), "https://hooks.example.com/")
    assert_error(answer, 422, "multipart", "webhook")
    assert "This server sends no webhooks" in answer.text


@pytest.mark.parametrize(("hosts", "is_valid"), [("hooks.example.com", True), ("", False)])
def test_the_openapi_document_shows_whether_webhooks_are_enabled(
    make_app: Callable[..., Flask], hosts: str, is_valid: bool
) -> None:
    spec = make_app(WEBHOOK_HOSTS=hosts, WEBHOOK_SECRET=SECRET).test_client().get("/openapi.json").get_json()
    schema = spec["components"]["schemas"]["JobForm"]["properties"]["webhook"]
    assert Draft202012Validator(schema).is_valid("https://hooks.example.com/") == is_valid
    assert not Draft202012Validator(schema).is_valid("http://hooks.example.com/")


def test_the_same_key_with_another_webhook_is_refused(client: FlaskClient) -> None:
    headers = {"Idempotency-Key": "my-pictures"}
    first, again = (submit(client, "https://hooks.example.com/1", headers=headers) for _ in range(2))
    assert first.get_json()["id"] == again.get_json()["id"]
    assert_error(submit(client, "https://hooks.example.com/2", headers=headers), 409)
    without = client.post("/caption_jobs/", data={"data": (io.BytesIO(b"x"), "x.png")}, headers=headers)
    assert_error(without, 409)


def test_webhook_hosts_need_a_secret(make_app: Callable[..., Flask]) -> None:
    with pytest.raises(InvalidSetting, match="FLASKAPP_WEBHOOK_SECRET must be set"):
        make_app(WEBHOOK_HOSTS="hooks.example.com")
    with pytest.raises(InvalidSetting, match="16 characters or more") as short:
        make_app(WEBHOOK_HOSTS="hooks.example.com", WEBHOOK_SECRET="canary")
    assert "canary" not in str(short.value)
