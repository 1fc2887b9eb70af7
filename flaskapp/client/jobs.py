"""Caption jobs as methods: many images, taken at once by the server and captioned when there is time."""

import itertools
import json
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from http import HTTPStatus
from typing import Any, Unpack
from urllib.parse import quote

from flaskapp.client.answers import Job, JobResult, texts
from flaskapp.client.errors import RequestRefused, TimedOut
from flaskapp.client.generation import Generation
from flaskapp.client.multipart import Form, ImageSource, listed
from flaskapp.client.transport import Transport

SHORTEST_PAUSE, LONGEST_PAUSE = 0.1, 5.0  # seconds between two questions how a job stands


class JobMethods:
    """The part of the client that is about jobs."""

    _transport: Transport

    def submit_job(
        self,
        images: ImageSource | Iterable[ImageSource],
        *,
        idempotency_key: str | None = None,
        webhook: str | None = None,
        **settings: Unpack[Generation],
    ) -> Job:
        """Hand in a job: images, or one zip of them. With the same key, the same content is the same job.

        By default each call has a key of its own: what is sent again after a lost connection makes no second job.
        `webhook` is an https URL of a host that the server allows. It gets the status of the ended job.
        """
        config = json.dumps(settings) if settings else None
        with Form(listed(images, or_single=True), config=config, webhook=webhook) as form:
            headers = {"Content-Type": form.content_type, "Idempotency-Key": idempotency_key or str(uuid.uuid4())}
            return self._transport.ask("POST", "/caption_jobs/", _job, expected=202, data=form, headers=headers)

    def job(self, job_id: str) -> Job:
        """How a job stands. RequestRefused, with status 404, if there is none."""
        return self._transport.ask("GET", _path(job_id), _job)

    def list_jobs(self, *, page_size: int = 100) -> Iterator[Job]:
        """Your jobs, the newest first. Pages are asked for as they are needed.

        Yours are those of your login or token; where the server wants none, those submitted from your address.
        """
        for page in itertools.count(1):
            query = {"page": page, "page_size": page_size}
            jobs = self._transport.ask("GET", "/caption_jobs/", _jobs, params=query)
            yield from jobs
            if len(jobs) < page_size:
                return

    def job_results(self, job_id: str, *, page_size: int = 100) -> Iterator[JobResult]:
        """What came of each image, in upload order. Pages are asked for as they are needed."""
        page, results = 1, [JobResult(0, "")] * page_size
        while len(results) == page_size:
            query = {"page": page, "page_size": page_size}
            results = self._transport.ask("GET", f"{_path(job_id)}/results", _results, params=query)
            yield from results
            page += 1

    def cancel_job(self, job_id: str) -> None:
        """End a job. What was captioned stays, and a job that has ended stays as it is."""
        self._transport.send("DELETE", _path(job_id), expected=204, params={"keep_results": "true"})

    def delete_job(self, job_id: str) -> None:
        """Delete a job and its results; one that runs is cancelled first. RequestRefused, 404, if there is none."""
        self.cancel_job(job_id)
        try:
            self._transport.send("DELETE", _path(job_id), expected=204)
        except RequestRefused as error:
            if error.status != HTTPStatus.NOT_FOUND:  # of a request that was sent again: it is deleted
                raise

    def wait_for_job(
        self,
        job_id: str,
        *,
        on_progress: Callable[[Job], object] | None = None,
        longest_pause: float = LONGEST_PAUSE,
        timeout: float | None = None,
    ) -> Job:
        """Ask how a job stands until it has ended, and return it: "done", "cancelled" or "expired".

        The server's estimate and its `Retry-After` say when to ask, `longest_pause` seconds from the last time at most
        if it is not busy. `on_progress` gets each answer; what it raises ends the waiting. After `timeout` seconds:
        TimedOut. Waiting can be taken up again, by the id.
        """
        expires = time.monotonic() + timeout if timeout is not None else float("inf")
        pause = SHORTEST_PAUSE
        while True:
            job = self.job(job_id)
            if on_progress is not None:
                on_progress(job)
            if job.has_ended:
                return job
            pause = job.seconds_remaining / 2 if job.seconds_remaining is not None else 1.5 * pause
            pause = min(max(pause, SHORTEST_PAUSE), longest_pause)
            if time.monotonic() + pause > expires:
                raise TimedOut(f"the job {job_id} did not end in {timeout:g} seconds")
            time.sleep(pause)


def _path(job_id: str) -> str:
    return f"/caption_jobs/{quote(job_id, safe='')}"


def _job(answer: Any) -> Job:
    return Job(
        id=str(answer["id"]),
        state=answer["state"],
        total=int(answer["total"]),
        done=int(answer["done"]),
        failed=int(answer["failed"]),
        seconds_remaining=None if answer["seconds_remaining"] is None else float(answer["seconds_remaining"]),
        created_at=datetime.fromisoformat(answer["created_at"]),
        ended_at=None if answer["ended_at"] is None else datetime.fromisoformat(answer["ended_at"]),
    )


def _jobs(answer: Any) -> list[Job]:
    return [_job(each) for each in answer]


def _results(answer: Any) -> list[JobResult]:
    return [
        JobResult(
            index=int(each["index"]),
            input=str(each["input"]),
            captions=texts(each["captions"]) if "captions" in each else None,
            error=str(each["error"]) if "error" in each else None,
        )
        for each in answer
    ]
