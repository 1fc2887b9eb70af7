import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from flaskapp.jobs import Jobs
from flaskapp.jobs.claims import ChunkId
from flaskapp.jobs.queue import TASK
from tests.api.test_caption import CIRCLE_AND_DIAMOND, STAR, asset
from tests.conftest import assert_error
from tests.free_port import free_port
from tests.jobs.cluster import zip_of

UNKNOWN_JOB = "/caption_jobs/0b6ee9d2-6a4d-4bb6-9a5c-7f1d3c0a8e55"


def submit(client: FlaskClient, *files: Any, config: Any = None, **options: Any) -> TestResponse:
    form: dict[str, Any] = {"data": [asset(file) if isinstance(file, str) else file for file in files]}
    if config is not None:
        form["config"] = json.dumps(config)
    return client.post("/caption_jobs/", data=form, **options)


def work(client: FlaskClient) -> None:
    """Process all queued messages, as a worker does."""
    queue = jobs_of(client).queue
    caption_chunk = queue.celery.tasks[TASK]
    with queue._connect() as connection, connection.SimpleQueue("flaskapp-captions") as messages:
        while messages.qsize():
            message = messages.get()
            caption_chunk(*message.payload[0])
            message.ack()


def jobs_of(client: FlaskClient) -> Jobs:
    jobs: Jobs = client.application.extensions["jobs"]
    return jobs


@pytest.fixture
def small(make_app: Callable[..., Flask]) -> FlaskClient:
    """Return a client of an application whose chunks have two images."""
    return make_app(CAPTIONER_MAX_BATCH=2, MAX_JOB_IMAGES=7).test_client()


def test_a_job_is_accepted_and_its_results_have_the_upload_order(small: FlaskClient) -> None:
    answer = submit(small, "star.png", "circle_and_diamond.png", "star.png")
    assert answer.status_code == 202
    job = answer.get_json()
    assert answer.headers["Location"] == f"/caption_jobs/{job['id']}"
    assert (job["state"], job["total"], job["done"], job["failed"]) == ("queued", 3, 0, 0)
    assert job["seconds_remaining"] is job["ended_at"] is None
    assert small.get(answer.headers["Location"]).get_json() == job
    results = answer.headers["Location"] + "/results"
    assert small.get(results).get_json()[1] == {"index": 1, "input": "circle_and_diamond.png"}
    work(small)
    job = small.get(answer.headers["Location"]).get_json()
    assert (job["state"], job["done"], job["failed"], job["seconds_remaining"]) == ("done", 3, 0, 0)
    assert job["created_at"] < job["ended_at"]
    assert small.get(results).get_json() == [
        {"index": 0, "input": "star.png", "captions": [STAR]},
        {"index": 1, "input": "circle_and_diamond.png", "captions": [CIRCLE_AND_DIAMOND]},
        {"index": 2, "input": "star.png", "captions": [STAR]},
    ]


def test_a_running_job_has_an_estimate(small: FlaskClient) -> None:
    answer = submit(small, *["star.png"] * 3)
    small.application.extensions["jobs"].queue.celery.tasks[TASK](answer.get_json()["id"], 0)
    job = small.get(answer.headers["Location"]).get_json()
    assert (job["state"], job["done"]) == ("running", 2)
    assert job["seconds_remaining"] > 0


def test_a_bad_image_fails_alone_with_its_reason(client: FlaskClient) -> None:
    star = asset("star.png")[0].getvalue()
    files = [(io.BytesIO(star), "1.png"), (io.BytesIO(b"poison"), "2.png"), (io.BytesIO(star[:3000]), "3.png"),
             (io.BytesIO(b""), "4.png"), (io.BytesIO(star), "5.png")]  # fmt: skip
    location = submit(client, *files).headers["Location"]
    work(client)
    results = client.get(location + "/results").get_json()
    assert [result.get("captions") for result in results] == [[STAR], None, None, None, [STAR]]
    assert [result.get("error") for result in results] == [
        None,
        "this is not an image that can be read here: send JPEG, PNG, WebP, GIF, BMP, TIFF, HEIC or AVIF",
        "the png image is broken or cut short",
        "the file is empty",
        None,
    ]
    job = client.get(location).get_json()
    assert (job["state"], job["done"], job["failed"]) == ("done", 2, 3)


def test_a_zip_is_unpacked_whatever_its_name(small: FlaskClient) -> None:
    star = asset("star.png")[0].getvalue()
    location = submit(small, (io.BytesIO(zip_of([star] * 3)), "photo.jpg")).headers["Location"]
    work(small)
    results = small.get(location + "/results").get_json()
    assert [(result["input"], result["captions"]) for result in results] == [(f"{n}.png", [STAR]) for n in range(3)]


def test_a_cancelled_job_ends_and_keeps_its_results(small: FlaskClient) -> None:
    answer = submit(small, *["star.png"] * 3)
    small.application.extensions["jobs"].queue.celery.tasks[TASK](answer.get_json()["id"], 0)
    assert small.delete(answer.headers["Location"]).status_code == 204
    work(small)
    job = small.get(answer.headers["Location"]).get_json()
    assert (job["state"], job["done"]) == ("cancelled", 2)
    assert job["ended_at"]


@pytest.mark.parametrize("path", [UNKNOWN_JOB, UNKNOWN_JOB + "/results", UNKNOWN_JOB + "/results?format=csv"])
def test_an_unknown_job_is_not_found(client: FlaskClient, path: str) -> None:
    assert_error(client.get(path), 404)
    assert_error(client.delete(UNKNOWN_JOB), 404)


@pytest.mark.parametrize("job_id", ["1", "x" * 36, "0B6EE9D2-6A4D-4BB6-9A5C-7F1D3C0A8E55"])
def test_an_invalid_job_id_is_named(client: FlaskClient, job_id: str) -> None:
    assert_error(client.get(f"/caption_jobs/{job_id}"), 422, "path", "job_id")


def test_the_same_key_and_content_are_the_same_job(client: FlaskClient) -> None:
    headers = {"Idempotency-Key": "my-pictures"}
    first, again = (submit(client, "star.png", headers=headers) for _ in range(2))
    assert (first.status_code, again.status_code) == (202, 202)
    assert first.get_json()["id"] == again.get_json()["id"]
    assert submit(client, "star.png").get_json()["id"] != first.get_json()["id"]
    for other in ({"files": ["star.png", "star.png"]}, {"files": ["star.png"], "config": {"num_beams": 2}}):
        answer = submit(client, *other.pop("files"), headers=headers, **other)
        assert_error(answer, 409)
        assert "Idempotency-Key" in answer.get_json()["message"]


@pytest.mark.parametrize("key", ["x" * 256, "schlüssel", "two words"])
def test_an_invalid_idempotency_key_is_named(client: FlaskClient, key: str) -> None:
    assert_error(submit(client, "star.png", headers={"Idempotency-Key": key}), 422, "headers", "Idempotency-Key")


def test_a_retry_with_the_same_key_completes_an_interrupted_submit(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs, headers = jobs_of(client), {"Idempotency-Key": "my-pictures"}

    def die(*_: Any) -> None:
        raise RuntimeError

    with monkeypatch.context() as killed:
        killed.setattr(jobs.ledger, "accept", die)
        client.application.config["PROPAGATE_EXCEPTIONS"] = True
        with pytest.raises(RuntimeError):
            submit(client, "star.png", headers=headers)
    answer = submit(client, "star.png", headers=headers)
    work(client)
    assert client.get(answer.headers["Location"]).get_json()["state"] == "done"


def test_an_invalid_upload_is_refused_and_the_field_named(small: FlaskClient) -> None:
    assert_error(submit(small), 422, "multipart", "data")
    assert_error(small.post("/caption_jobs/"), 422, "multipart", "data")
    assert_error(small.post("/caption_jobs/", data={"data": "text"}), 422, "multipart", "data")
    assert_error(small.post("/caption_jobs/", json={}), 415)
    assert_error(submit(small, *["star.png"] * 8), 422, "multipart", "data")
    assert_error(submit(small, (io.BytesIO(b"PK\x03\x04rubbish"), "x.zip")), 422, "multipart", "data")
    assert_error(submit(small, "star.png", config={"num_beams": 0}), 422, "multipart", "config", "num_beams")
    assert_error(submit(small, "star.png", config={"max_length": 65}), 422, "multipart", "config", "max_length")


def test_an_unavailable_broker_refuses_new_jobs_only(make_app: Callable[..., Flask]) -> None:
    client = make_app(BROKER_URL=f"redis://:canary@127.0.0.1:{free_port()}").test_client()
    answer = submit(client, "star.png")
    assert_error(answer, 503)
    assert int(answer.headers["Retry-After"]) > 0
    assert "canary" not in answer.text
    assert_error(client.get(UNKNOWN_JOB), 404)
    assert client.get("/").status_code == 200


def test_an_unwritable_blob_store_refuses_new_jobs(make_app: Callable[..., Flask], tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    client = make_app(BLOB_STORE=str(tmp_path / "file" / "blobs")).test_client()
    assert_error(submit(client, "star.png"), 503)


def test_a_blob_store_whose_folder_cannot_be_created_refuses_new_jobs(make_app: Callable[..., Flask]) -> None:
    client = make_app(BLOB_STORE="/proc/nope").test_client()  # mkdir: "No such file or directory"
    answer = submit(client, "star.png")
    assert_error(answer, 503)
    assert answer.get_json()["message"] == "the images cannot be stored or read at the moment"


@pytest.fixture
def closed(make_app: Callable[..., Flask]) -> FlaskClient:
    app = make_app(REQUIRE_LOGIN=True)
    for name in ("ada", "bob"):
        app.extensions["accounts"].add(name, "correct horse")
    return app.test_client()


def test_only_its_owner_can_access_a_job(closed: FlaskClient) -> None:
    ada, bob = ("ada", "correct horse"), ("bob", "correct horse")
    assert_error(submit(closed, "star.png"), 401)
    headers = {"Idempotency-Key": "my-pictures"}
    location = submit(closed, "star.png", auth=ada, headers=headers).headers["Location"]
    assert submit(closed, "star.png", auth=bob, headers=headers).headers["Location"] != location
    assert closed.get(location, auth=ada).status_code == 200
    for path in (location, location + "/results"):
        assert_error(closed.get(path), 401)
        assert_error(closed.get(path, auth=bob), 404)
    assert_error(closed.delete(location, auth=bob), 404)
    assert closed.get(location, auth=ada).get_json()["state"] == "queued"


def test_expired_jobs_are_removed_with_their_images(make_app: Callable[..., Flask], tmp_path: Path) -> None:
    client = make_app(JOB_TTL=3600, BLOB_STORE=str(tmp_path / "blobs")).test_client()
    location = submit(client, "star.png").headers["Location"]
    jobs = jobs_of(client)
    jobs.tidy()
    assert client.get(location).get_json()["state"] == "queued"
    assert len(list((tmp_path / "blobs").iterdir())) == 1
    jobs._seconds_kept = -1
    jobs.tidy()
    assert_error(client.get(location), 404)
    assert list((tmp_path / "blobs").iterdir()) == []
    jobs.queue.celery.tasks[TASK](*ChunkId(location.rpartition("/")[2], 0))  # a late message


def test_each_client_has_its_own_limits_of_waiting_jobs_and_images(
    make_app: Callable[..., Flask],
) -> None:
    client = make_app(MAX_CLIENT_JOBS="2", MAX_CLIENT_JOB_IMAGES="3", TRUSTED_PROXIES="1").test_client()

    def send(address: str, images: int = 1) -> TestResponse:
        data = {"data": [(io.BytesIO(b"no image"), f"{number}.png") for number in range(images)]}
        return client.post("/caption_jobs/", data=data, headers={"X-Forwarded-For": address})

    assert [send("10.0.0.1:1", 2).status_code, send("10.0.0.1:2", 2).status_code] == [202, 429]
    assert [send("10.0.0.1:3").status_code, send("10.0.0.1:4").status_code] == [202, 429]
    answer = send("10.0.0.1:5")
    assert_error(answer, 429)
    assert answer.get_json()["message"] == "2 of your caption jobs wait already: wait for one to end"
    assert int(answer.headers["Retry-After"]) > 0
    assert send("10.0.0.2").status_code == 202


def test_a_job_refuses_the_scores_setting(client: FlaskClient) -> None:
    answer = submit(client, "star.png", config={"scores": True})
    assert_error(answer, 422, "multipart", "config", "scores")
    assert "Jobs have no scores; /caption/ has them." in answer.text
    for scores in (False, None):
        assert submit(client, "star.png", config={"scores": scores}).status_code == 202


def test_a_job_accepts_generation_settings(client: FlaskClient) -> None:
    location = submit(client, "star.png", config={"max_new_tokens": 4, "num_beams": 1}).headers["Location"]
    work(client)
    (result,) = client.get(location + "/results").get_json()
    assert result["captions"] == ["a large pink star"]
    assert_error(submit(client, "star.png", config={"prompt": "a"}), 422, "multipart", "config", "prompt")
