"""The client's methods for caption jobs: many images that the server captions in the background."""

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

SHORTEST_PAUSE, LONGEST_PAUSE = 0.1, 5.0  # seconds between status requests


class JobMethods:
    """The methods for caption jobs."""

    _transport: Transport

    def submit_job(
        self,
        images: ImageSource | Iterable[ImageSource],
        *,
        idempotency_key: str | None = None,
        webhook: str | None = None,
        **settings: Unpack[Generation],
    ) -> Job:
        """Submit a job: images, or one zip of images.

        A second call with the same `idempotency_key` and content returns the same job. By default each call has its own
        key, so that a retry after a lost connection creates no second job. `webhook` is an https URL that gets the
        status of the job when it has ended. The server must allow its host.
        """
        config = json.dumps(settings) if settings else None
        with Form(listed(images, or_single=True), config=config, webhook=webhook) as form:
            headers = {"Content-Type": form.content_type, "Idempotency-Key": idempotency_key or str(uuid.uuid4())}
            return self._transport.ask("POST", "/caption_jobs/", _job, expected=202, data=form, headers=headers)

    def job(self, job_id: str) -> Job:
        """Return the status of a job. Raises RequestRefused with status 404 if it does not exist."""
        return self._transport.ask("GET", _path(job_id), _job)

    def list_jobs(self, *, page_size: int = 100) -> Iterator[Job]:
        """Iterate over your jobs, newest first. Requests a page when it is needed.

        Your jobs are those of your login or token, or without logins those submitted from your address.
        """
        for page in itertools.count(1):
            query = {"page": page, "page_size": page_size}
            jobs = self._transport.ask("GET", "/caption_jobs/", _jobs, params=query)
            yield from jobs
            if len(jobs) < page_size:
                return

    def job_results(self, job_id: str, *, page_size: int = 100) -> Iterator[JobResult]:
        """Iterate over the results of a job's images in upload order. Requests a page when it is needed."""
        page, results = 1, [JobResult(0, "")] * page_size
        while len(results) == page_size:
            query = {"page": page, "page_size": page_size}
            results = self._transport.ask("GET", f"{_path(job_id)}/results", _results, params=query)
            yield from results
            page += 1

    def cancel_job(self, job_id: str) -> None:
        """Cancel a job, and keep its results. Does nothing if the job has ended."""
        self._transport.send("DELETE", _path(job_id), expected=204, params={"keep_results": "true"})

    def delete_job(self, job_id: str) -> None:
        """Cancel and delete a job with its results. Raises RequestRefused with status 404 if it does not exist."""
        self.cancel_job(job_id)
        try:
            self._transport.send("DELETE", _path(job_id), expected=204)
        except RequestRefused as error:
            if error.status != HTTPStatus.NOT_FOUND:  # a retry finds that the first request has deleted it
                raise

    def wait_for_job(
        self,
        job_id: str,
        *,
        on_progress: Callable[[Job], object] | None = None,
        longest_pause: float = LONGEST_PAUSE,
        timeout: float | None = None,
    ) -> Job:
        """Poll a job until it has ended, and return its status: "done", "cancelled" or "expired".

        Polls after half of the server's estimate, and after `longest_pause` seconds at most unless the server is busy.
        Calls `on_progress` with each status; an exception that it raises ends the wait. Raises TimedOut after `timeout`
        seconds; call this again to continue waiting.
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
