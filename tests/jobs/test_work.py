"""A worker's processing of chunks, with the real model. Expired claims stand for killed workers."""

import io
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from flaskapp.captioner import GenerationSettings, captioner
from flaskapp.errors import BlobStoreUnavailable, CaptionerUnavailable, ClientLeft, DatabaseUnavailable, EngineLost
from flaskapp.images import EncodedImage
from flaskapp.jobs import Jobs, Limits, NamedFile
from flaskapp.jobs import ledger as ledgers
from flaskapp.jobs import work as works
from flaskapp.jobs.claims import ChunkId
from flaskapp.jobs.queue import TASK
from flaskapp.jobs.work import MAX_ATTEMPTS, MAX_BATCH_ATTEMPTS, MAX_IMAGE_ATTEMPTS
from tests.api.test_caption import STAR
from tests.conftest import ASSETS

STAR_FILE = NamedFile("star.png", (ASSETS / "star.png").read_bytes())


@pytest.fixture
def jobs(make_app: Callable[..., Flask]) -> Jobs:
    jobs: Jobs = make_app().extensions["jobs"]
    return jobs


def submit(jobs: Jobs, *files: NamedFile, key: str | None = None) -> str:
    return jobs.submit(files, Limits(images=100, bytes=2**24), GenerationSettings(), "", key).id


def work(jobs: Jobs, job_id: str) -> None:
    jobs.queue.celery.tasks[TASK](job_id, 0)


def outcomes(jobs: Jobs, job_id: str) -> list[list[str] | str | None]:
    return [row.captions or row.error for row in jobs.results(jobs.find(job_id, ""), 0, 100)]


@contextmanager
def expired_leases() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ledgers, "LEASE", -1.0)
        yield


def test_a_repeated_message_changes_nothing(jobs: Jobs) -> None:
    job_id = submit(jobs, STAR_FILE)
    for _ in range(3):
        work(jobs, job_id)
    assert outcomes(jobs, job_id) == [[STAR]]
    jobs.queue.celery.tasks[TASK](job_id, 99)
    jobs.queue.celery.tasks[TASK]("no job", 0)


def test_an_image_that_repeatedly_kills_its_worker_fails_alone(jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    class Died(BaseException):
        """Acts like `kill -9`: nothing catches it, and the claim stays."""

    killer = NamedFile("killer.png", dot())
    decode = works.EncodedImage.decoded

    def decoded(image: EncodedImage, *arguments: Any, **options: Any) -> Any:
        if image.memory() < 100:  # one pixel
            raise Died
        return decode(image, *arguments, **options)

    monkeypatch.setattr(works.EncodedImage, "decoded", decoded)
    job_id = submit(jobs, STAR_FILE, killer, STAR_FILE)
    with expired_leases():
        for _ in range(MAX_BATCH_ATTEMPTS + MAX_IMAGE_ATTEMPTS):
            with pytest.raises(Died):
                work(jobs, job_id)
        work(jobs, job_id)
    assert outcomes(jobs, job_id) == [[STAR], f"the worker died of it {MAX_IMAGE_ATTEMPTS} times", [STAR]]
    assert jobs.find(job_id, "").state == "done"


def test_an_image_on_which_the_model_fails_fails_alone(jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    caption = captioner.caption

    def fail_at_many_or_the_second(images: Any, *arguments: Any, **options: Any) -> Any:
        if len(images) > 1 or next(iter(images)).shape[0] == 1:
            raise RuntimeError("a bug")
        return caption(images, *arguments, **options)

    monkeypatch.setattr(captioner, "caption", fail_at_many_or_the_second)
    job_id = submit(jobs, STAR_FILE, NamedFile("dot.png", dot()), STAR_FILE)
    work(jobs, job_id)
    assert outcomes(jobs, job_id) == [[STAR], "the image could not be captioned", [STAR]]


def test_an_image_that_repeatedly_kills_the_engine_fails_alone(jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    caption = captioner.caption

    def die_of_the_dot(images: Any, *arguments: Any, **options: Any) -> Any:
        if any(image.shape[0] == 1 for image in images):
            raise EngineLost("the captioner stopped")
        return caption(images, *arguments, **options)

    monkeypatch.setattr(captioner, "caption", die_of_the_dot)
    job_id = submit(jobs, STAR_FILE, NamedFile("dot.png", dot()), STAR_FILE)
    expire_leases(monkeypatch)
    for _ in range(MAX_BATCH_ATTEMPTS + MAX_IMAGE_ATTEMPTS + 1):
        work(jobs, job_id)
    assert outcomes(jobs, job_id) == [[STAR], f"the worker died of it {MAX_IMAGE_ATTEMPTS} times", [STAR]]


def dot() -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    Image.new("RGB", (1, 1)).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.mark.parametrize("error", [CaptionerUnavailable, BlobStoreUnavailable])
def test_a_temporary_error_returns_the_chunk_for_later(
    jobs: Jobs, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    job_id = submit(jobs, STAR_FILE)

    def fail(*_: Any) -> None:
        raise error("not now")

    with monkeypatch.context() as away:
        away.setattr(jobs.blobs, "read", fail)
        work(jobs, job_id)
    assert outcomes(jobs, job_id) == [None]
    assert jobs.ledger.claim(ChunkId(job_id, 0)) is None, "the chunk is delayed"
    expire_leases(monkeypatch)
    work(jobs, job_id)
    assert outcomes(jobs, job_id) == [[STAR]]


@pytest.mark.parametrize("error", [CaptionerUnavailable, ClientLeft, DatabaseUnavailable])
def test_an_image_alone_does_not_fail_for_errors_that_its_worker_survived(
    jobs: Jobs, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    job_id = submit(jobs, STAR_FILE)

    def fail(*_: Any, **__: Any) -> None:
        raise error("not now")

    monkeypatch.setattr(works, "MAX_BATCH_ATTEMPTS", 0)
    expire_leases(monkeypatch)
    with monkeypatch.context() as away:
        away.setattr(captioner, "caption", fail)
        for _ in range(MAX_IMAGE_ATTEMPTS + 1):
            with suppress(DatabaseUnavailable):
                work(jobs, job_id)
    work(jobs, job_id)
    assert outcomes(jobs, job_id) == [[STAR]]


def test_captions_survive_a_briefly_unavailable_database(jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    job_id = submit(jobs, STAR_FILE)
    save, calls = jobs.ledger.save, []

    def save_at_the_third_time(*arguments: Any) -> bool:
        calls.append(arguments)
        if len(calls) < 3:
            raise DatabaseUnavailable("restarting")
        return save(*arguments)

    monkeypatch.setattr(works, "SAVE_RETRY_DELAYS", (0.0, 0.0, 0.0))
    monkeypatch.setattr(jobs.ledger, "save", save_at_the_third_time)
    work(jobs, job_id)
    assert len(calls) == 3
    assert outcomes(jobs, job_id) == [[STAR]]


@pytest.mark.parametrize("damage", ["missing", "cut short", "empty", "changed", "another's"])
def test_missing_or_damaged_stored_images_fail_after_all_attempts(jobs: Jobs, damage: str) -> None:
    job_id = submit(jobs, STAR_FILE)
    file = Path(jobs.blobs._url, job_id, "0")
    data = file.read_bytes()
    middle = len(data) // 2
    match damage:
        case "missing":
            jobs.blobs.remove(job_id)
        case "cut short":
            file.write_bytes(data[:middle])
        case "empty":
            file.write_bytes(b"")
        case "changed":
            file.write_bytes(data[:middle] + bytes(8) + data[middle + 8 :])
        case _:
            jobs.blobs.write(job_id, 0, {7: STAR_FILE.data})
    assert outcome_after_all_attempts(jobs, job_id) == "the image is not stored any more"


def test_a_chunk_with_an_unknown_error_fails_after_all_attempts(jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    job_id = submit(jobs, STAR_FILE)
    monkeypatch.setattr(works, "GenerationSettings", lambda: None)  # like a row of a later version
    assert outcome_after_all_attempts(jobs, job_id) == "the image could not be captioned"


def expire_leases(patch: pytest.MonkeyPatch) -> None:
    """Advance the clock by an hour at each call, so that earlier leases and delays have expired."""
    hours = count(1)
    patch.setattr(ledgers, "current_time", lambda _: time.time() + 3600 * next(hours))


def outcome_after_all_attempts(jobs: Jobs, job_id: str) -> list[str] | str | None:
    with pytest.MonkeyPatch.context() as patch:
        expire_leases(patch)
        for _ in range(MAX_ATTEMPTS - 1):
            work(jobs, job_id)
            assert outcomes(jobs, job_id) == [None]
        work(jobs, job_id)
    assert jobs.find(job_id, "").state == "done"
    (outcome,) = outcomes(jobs, job_id)
    return outcome


def test_images_are_removed_from_the_store_when_their_job_ends(jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    done, cancelled = submit(jobs, STAR_FILE), submit(jobs, STAR_FILE)
    assert stored(jobs) == {f"{done}/0", f"{cancelled}/0"}
    work(jobs, done)
    assert stored(jobs) == {f"{cancelled}/0"}
    jobs.cancel(cancelled, "")
    assert stored(jobs) == set()

    def fail(*_: Any) -> None:
        raise DatabaseUnavailable("in the middle of a submit")

    monkeypatch.setattr(jobs.ledger, "accept", fail)
    with pytest.raises(DatabaseUnavailable):
        submit(jobs, STAR_FILE)
    assert stored(jobs) == set()


def test_a_job_stored_twice_concurrently_leaves_no_images(jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    write = jobs.blobs.write

    def write_late(*arguments: Any) -> None:
        monkeypatch.setattr(jobs.blobs, "write", write)
        work(jobs, submit(jobs, STAR_FILE, key="key"))
        write(*arguments)

    monkeypatch.setattr(jobs.blobs, "write", write_late)
    job_id = submit(jobs, STAR_FILE, key="key")
    assert outcomes(jobs, job_id) == [[STAR]]
    assert stored(jobs) == set()


def stored(jobs: Jobs) -> set[str]:
    root = Path(jobs.blobs._url)
    return {str(file.relative_to(root)) for file in root.rglob("*") if file.is_file()}


def test_a_stored_file_stays_whole_while_it_is_rewritten(jobs: Jobs) -> None:
    job_id = submit(jobs, STAR_FILE)
    with Path(jobs.blobs._url, job_id, "0").open("rb") as reader:
        first = reader.read(10)
        jobs.blobs.write(job_id, 0, {0: bytes(10**6)})
        assert zipfile.ZipFile(io.BytesIO(first + reader.read())).read("0") == STAR_FILE.data
    assert [file.name for file in Path(jobs.blobs._url, job_id).iterdir()] == ["0"]


def test_only_lost_messages_are_sent_again(jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    job_id = submit(jobs, STAR_FILE)
    monkeypatch.setattr(ledgers, "DELIVERY_TIME", -1.0)
    jobs.lease_renewer.sweep()
    assert messages(jobs) == [(job_id, 0)], "a waiting message is not sent again"
    assert jobs.queue.is_empty()
    jobs.lease_renewer.sweep()
    assert messages(jobs) == [(job_id, 0)]
    work(jobs, job_id)
    jobs.lease_renewer.sweep()
    assert messages(jobs) == []


def messages(jobs: Jobs) -> list[tuple[str, int]]:
    """Take all waiting messages."""
    taken = []
    with jobs.queue._connect() as connection, connection.SimpleQueue("flaskapp-captions") as queue:
        while queue.qsize():
            message = queue.get()
            taken.append(tuple(message.payload[0]))
            message.ack()
    return taken
