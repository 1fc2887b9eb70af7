"""DELETE cancels a running job, and deletes an ended job with everything stored for it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import text

from flaskapp.captioner import GenerationSettings
from flaskapp.errors import BlobStoreUnavailable, UnknownJob
from flaskapp.jobs import Limits, NamedFile
from flaskapp.jobs.claims import ChunkId, Outcome
from tests.api.test_caption_jobs import UNKNOWN_JOB, jobs_of, submit, work
from tests.conftest import assert_error

TABLES = ("caption_jobs", "caption_job_chunks", "caption_job_images")


@pytest.fixture
def client(make_app: Callable[..., Flask], tmp_path: Path) -> FlaskClient:
    """Return a client of an application with chunks of two images and a blob store in the test's folder."""
    return make_app(CAPTIONER_MAX_BATCH=2, BLOB_STORE=str(tmp_path / "blobs")).test_client()


def rows(client: FlaskClient) -> list[int]:
    with client.application.extensions["accounts"]._database.session() as session:
        return [session.execute(text(f"SELECT count(*) FROM {table}")).scalar_one() for table in TABLES]


def test_a_done_job_is_deleted_with_its_results(client: FlaskClient, tmp_path: Path) -> None:
    job, other = (submit(client, "star.png", "star.png", "star.png").headers["Location"] for _ in range(2))
    work(client)
    stray = tmp_path / "blobs" / job.rpartition("/")[2]
    stray.mkdir(exist_ok=True)
    (stray / "0").touch()  # a blob that could not be removed after its chunk
    assert rows(client) == [2, 4, 6]
    assert client.delete(job).status_code == 204
    assert rows(client) == [1, 2, 3]
    assert not stray.exists()
    for path in (job, job + "/results", job + "/events"):
        assert_error(client.get(path), 404)
    assert_error(client.delete(job), 404)
    assert client.get(other).get_json()["done"] == 3


def test_a_running_job_is_cancelled_first_and_deleted_by_the_next_call(client: FlaskClient) -> None:
    job = submit(client, "star.png", "star.png", "star.png").headers["Location"]
    assert client.delete(job).status_code == 204
    assert client.get(job).get_json()["state"] == "cancelled"
    assert len(client.get(job + "/results").get_json()) == 3
    assert client.delete(job).status_code == 204
    assert_error(client.get(job), 404)


def test_with_keep_results_a_job_is_cancelled_but_not_deleted(client: FlaskClient) -> None:
    """A late or repeated cancellation must not delete captions."""
    job = submit(client, "star.png").headers["Location"]
    work(client)
    for _ in range(2):
        assert client.delete(job + "?keep_results=true").status_code == 204
    assert client.get(job).get_json()["state"] == "done"
    running = submit(client, "star.png").headers["Location"]
    for _ in range(2):
        assert client.delete(running + "?keep_results=true").status_code == 204
    assert client.get(running).get_json()["state"] == "cancelled"
    for query in ("keep_results=1", "keep_results=yes", "keep_results="):
        assert_error(client.delete(f"{job}?{query}"), 422, "query", "keep_results")


def test_while_the_blob_store_fails_nothing_is_deleted(client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    job = submit(client, "star.png").headers["Location"]
    work(client)

    def fail(*_: Any) -> None:
        raise BlobStoreUnavailable("one of its disks is broken")

    with monkeypatch.context() as broken:
        broken.setattr(jobs_of(client).blobs, "remove", fail)
        assert_error(client.delete(job), 503)
    assert client.get(job).get_json()["state"] == "done"
    assert client.delete(job).status_code == 204


def test_the_idempotency_key_of_a_deleted_job_creates_a_new_one(client: FlaskClient) -> None:
    headers = {"Idempotency-Key": "my-pictures"}
    first = submit(client, "star.png", headers=headers).headers["Location"]
    work(client)
    client.delete(first)
    again = submit(client, "star.png", headers=headers)
    assert again.status_code == 202
    assert again.headers["Location"] != first


def test_a_worker_with_a_chunk_of_a_deleted_job_saves_nothing(client: FlaskClient) -> None:
    job = submit(client, "star.png").headers["Location"]
    ledger = jobs_of(client).ledger
    claim = ledger.claim(ChunkId(job.rpartition("/")[2], 0))
    assert claim is not None
    for _ in range(2):
        client.delete(job)
    assert not ledger.save(claim, {0: Outcome(captions=["a star"])})
    assert rows(client) == [0, 0, 0]


def test_a_job_deleted_during_its_upload_leaves_no_image(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    jobs = jobs_of(client)
    write = jobs.blobs.write

    def delete_then_write(job_id: str, *rest: Any) -> None:
        for _ in range(2):
            jobs.cancel_or_delete(job_id, "")
        write(job_id, *rest)

    monkeypatch.setattr(jobs.blobs, "write", delete_then_write)
    with pytest.raises(UnknownJob):
        jobs.submit([NamedFile("x.png", b"x")], Limits(images=1, bytes=1), GenerationSettings(), "", None)
    assert list((tmp_path / "blobs").iterdir()) == []
    assert rows(client) == [0, 0, 0]


def test_deleting_an_unknown_job_is_not_found(client: FlaskClient) -> None:
    for query in ("", "?keep_results=true"):
        assert_error(client.delete(UNKNOWN_JOB + query), 404)
