"""Caption jobs, by the client with the real server and its worker."""

import io
import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from flaskapp.client import Client, Job, JobResult, RequestRefused, TimedOut
from tests.client.scripted import DROP, ScriptedServer, answer, busy
from tests.conftest import ASSETS, ROOT, Server
from tests.jobs.cluster import zip_of

STAR = "a large pink star on a yellow background"
CIRCLE_AND_DIAMOND = "a large red circle left of a small black diamond on a pink background"
UNKNOWN = "this is not an image that can be read here: send JPEG, PNG, WebP, GIF, BMP, TIFF, HEIC or AVIF"
UNKNOWN_JOB = "0b6ee9d2-6a4d-4bb6-9a5c-7f1d3c0a8e55"


@pytest.fixture(scope="module")
def remote(server: Server) -> Iterator[Client]:
    with Client(server.url) as client:
        yield client


def status_of(state: str, done: int, seconds: float | None = None) -> dict[str, object]:
    times = {"created_at": "2026-11-24T12:00:00+00:00", "ended_at": None}
    return {"id": "x", "state": state, "total": 4, "done": done, "failed": 0, "seconds_remaining": seconds} | times


def test_a_job_is_submitted_waited_for_and_read(remote: Client) -> None:
    files = [ASSETS / "star.png", ROOT / "README.md", ASSETS / "circle_and_diamond.png"]
    job = remote.submit_job(files, num_beams=4)
    assert (job.total, job.has_ended, job.ended_at) == (3, False, None)
    seen: list[Job] = []
    ended = remote.wait_for_job(job.id, on_progress=seen.append, longest_pause=0.2, timeout=120)
    assert (ended.state, ended.done, ended.failed, ended.has_ended) == ("done", 2, 1, True)
    assert seen[-1] == ended == remote.job(job.id)
    assert ended.ended_at is not None
    assert ended.ended_at > ended.created_at
    assert list(remote.job_results(job.id)) == [
        JobResult(0, "star.png", captions=[STAR]),
        JobResult(1, "README.md", error=UNKNOWN),
        JobResult(2, "circle_and_diamond.png", captions=[CIRCLE_AND_DIAMOND]),
    ]


def test_a_job_may_be_one_zip(remote: Client, tmp_path: Path) -> None:
    star = (ASSETS / "star.png").read_bytes()
    (tmp_path / "images.zip").write_bytes(zip_of([star, star]))
    job = remote.submit_job(tmp_path / "images.zip")
    remote.wait_for_job(job.id, timeout=120)
    captions = {each.input: each.captions for each in remote.job_results(job.id)}
    assert captions == {"0.png": [STAR], "1.png": [STAR]}


def test_the_same_key_finds_the_job_and_by_default_each_job_has_its_own_key(remote: Client) -> None:
    star = ASSETS / "star.png"
    first = remote.submit_job([star], idempotency_key="client-key")
    assert remote.submit_job([star], idempotency_key="client-key").id == first.id
    assert remote.submit_job([star]).id != remote.submit_job([star]).id != first.id
    with pytest.raises(RequestRefused, match="409: "):
        remote.submit_job([star, star], idempotency_key="client-key")


def test_results_are_fetched_page_by_page(remote: Client) -> None:
    job = remote.submit_job([ASSETS / "star.png"] * 4)
    remote.wait_for_job(job.id, timeout=120)
    for size in (1, 2, 3, 4, 5):
        assert [each.index for each in remote.job_results(job.id, page_size=size)] == [0, 1, 2, 3]
    page = [{"index": number, "input": "x"} for number in range(2)]
    with ScriptedServer([answer(200, page)]) as server, Client(server.url) as client:
        assert [each.captions for each in itertools.islice(client.job_results("a/b", page_size=2), 3)] == [None] * 3
    lines = [f"GET /caption_jobs/a%2Fb/results?page={page}&page_size=2 HTTP/1.1" for page in (1, 2)]
    assert [asked.line for asked in server.asked] == lines


def test_a_job_is_cancelled(remote: Client) -> None:
    job = remote.submit_job([ASSETS / "star.png"] * 400)
    remote.cancel_job(job.id)
    ended = remote.wait_for_job(job.id, timeout=120)
    assert ended.state == "cancelled"
    assert len([each for each in remote.job_results(job.id) if each.captions is None]) == 400 - ended.done > 0


def test_an_unknown_or_invalid_job_has_a_clear_message(remote: Client) -> None:
    for ask in (remote.job, remote.cancel_job, remote.wait_for_job, lambda id: next(remote.job_results(id))):
        with pytest.raises(RequestRefused, match="404: there is no such job"):
            ask(UNKNOWN_JOB)
    with pytest.raises(RequestRefused, match=r"422: multipart\.config\.num_beams"):
        remote.submit_job([ASSETS / "star.png"], num_beams=0)


@pytest.mark.parametrize("trouble", [busy("0"), DROP])
def test_a_retried_submit_has_the_same_key(trouble: bytes) -> None:
    taken = answer(202, status_of("queued", 0))
    with ScriptedServer([trouble, taken]) as server, Client(server.url) as client:
        client.submit_job(io.BytesIO(b"image"))
        client.submit_job([b"image"])
    keys = [line for asked in server.asked for line in asked.head if line.startswith("Idempotency-Key: ")]
    assert keys[0] == keys[1] != keys[2]
    assert server.asked[0].body == server.asked[1].body


def test_wait_for_job_follows_the_server_s_estimate_and_ends_with_the_job_the_timeout_or_an_error() -> None:
    script = [
        status_of("queued", 0),
        status_of("running", 1, 0.8),
        status_of("running", 3, 900.0),
        status_of("done", 4, 0.0),
    ]
    answers = [answer(200, each) for each in script]
    with ScriptedServer([*answers[:2], busy("1"), *answers[2:]]) as server, Client(server.url) as client:
        seen: list[Job] = []
        assert client.wait_for_job("x", on_progress=seen.append, longest_pause=0.5).state == "done"
    assert [job.done for job in seen] == [0, 1, 3, 4]
    times = [asked.at for asked in server.asked]
    pauses = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert pauses[1] >= 0.4, "half of the estimate"
    assert pauses[2] >= 1, "Retry-After"
    assert 0.5 <= pauses[3] < 100, "the longest pause"
    with ScriptedServer([answers[2]]) as server, Client(server.url) as client:
        with pytest.raises(TimedOut, match="the job x did not end in 0 seconds"):
            client.wait_for_job("x", timeout=0)
        with pytest.raises(KeyError):
            client.wait_for_job("x", on_progress=lambda job: {}[job])
    assert len(server.asked) == 2


def test_jobs_are_listed_newest_first_page_by_page(remote: Client) -> None:
    ids = [remote.submit_job([ASSETS / "star.png"]).id for _ in range(3)]
    for size in (1, 2, 3, 4):
        assert [job.id for job in itertools.islice(remote.list_jobs(page_size=size), 3)] == ids[::-1]
    page = [status_of("done", 4, 0.0)] * 2
    with ScriptedServer([answer(200, page), answer(200, page[:1])]) as server, Client(server.url) as client:
        assert [job.done for job in client.list_jobs(page_size=2)] == [4, 4, 4]
    lines = [f"GET /caption_jobs/?page={page}&page_size=2 HTTP/1.1" for page in (1, 2)]
    assert [asked.line for asked in server.asked] == lines


def test_delete_job_cancels_a_running_job_first(remote: Client) -> None:
    done, running = remote.submit_job([ASSETS / "star.png"]), remote.submit_job([ASSETS / "star.png"] * 400)
    remote.wait_for_job(done.id, timeout=120)
    remote.cancel_job(done.id)
    assert remote.job(done.id).state == "done", "a cancellation deletes nothing"
    for job in (done, running):
        remote.delete_job(job.id)
        for ask in (remote.job, remote.delete_job):
            with pytest.raises(RequestRefused, match="404: there is no such job"):
                ask(job.id)


def test_a_webhook_is_sent_in_the_form(remote: Client) -> None:
    with ScriptedServer([answer(202, status_of("queued", 0))]) as server, Client(server.url) as client:
        client.submit_job([b"image"], webhook="https://hooks.example.com/")
    assert b'name="webhook"\r\n\r\nhttps://hooks.example.com/\r\n' in server.asked[0].body
    with pytest.raises(RequestRefused, match=r"422: multipart\.webhook: This server sends no webhooks"):
        remote.submit_job([ASSETS / "star.png"], webhook="https://hooks.example.com/")


def test_a_deletion_with_a_lost_answer_succeeds() -> None:
    unknown = answer(404, {"code": 404, "status": "Not Found", "message": "there is no such job"})
    with ScriptedServer([answer(204, b""), DROP, unknown]) as server, Client(server.url) as client:
        client.delete_job("x")
    assert [asked.line for asked in server.asked] == [
        "DELETE /caption_jobs/x?keep_results=true HTTP/1.1", *["DELETE /caption_jobs/x HTTP/1.1"] * 2
    ]  # fmt: skip
