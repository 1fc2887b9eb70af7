"""The progress of a job as server-sent events (HTML standard, section 9.2)."""

import json
import threading
from collections.abc import Callable, Iterator
from http import HTTPStatus

from flask import Response, current_app, request

from flaskapp.api.caption_jobs.resource import blp, jobs
from flaskapp.api.caption_jobs.schemas import EventsHeaders, JobPath
from flaskapp.api.protected import username
from flaskapp.errors import TooBusy
from flaskapp.jobs import JobStatus
from flaskapp.jobs.progress import follow
from flaskapp.serving import client_disconnect
from flaskapp.threads import under_gevent

MAX_STREAMS = 200 if under_gevent() else 16  # for each process; without gevent, each stream occupies a thread
RETRY_AFTER = 5  # seconds
HEARTBEAT = ":\n\n"  # a comment, which clients ignore
# No cache stores the stream, and nginx does not buffer it.
HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
EVENT = {
    "type": "object",
    "description": "The fields of an event",
    "properties": {
        "id": {"type": "string", "description": "The state, `done` and `failed`", "examples": ["running-480-1"]},
        "data": {
            "type": "string",
            "contentMediaType": "application/json",
            "description": "The job's status, as in `GET /caption_jobs/{job_id}`",
            "examples": ['{"id": "0b6ee9d2-6a4d-4bb6-9a5c-7f1d3c0a8e55", "state": "running", "total": 2000, ...}'],
        },
    },
    "required": ["id", "data"],
}

_free_streams = threading.BoundedSemaphore(MAX_STREAMS)


@blp.route("/caption_jobs/<job_id>/events")
@blp.arguments(JobPath, location="path", as_kwargs=True)
@blp.arguments(EventsHeaders, location="headers", as_kwargs=True)
@blp.alt_response(200, schema=EVENT, content_type="text/event-stream", success=True)
@blp.alt_response(204, description="The client has received the last event", success=True)
@blp.errors(HTTPStatus.NOT_FOUND, HTTPStatus.SERVICE_UNAVAILABLE)
def events(job_id: str, last_event_id: str | None = None) -> Response:
    """Follow the progress of a job by server-sent events

    The data of each event is the job's status, as in `GET /caption_jobs/{job_id}`. The first event is sent immediately,
    and one follows each change, at most one a second. The stream ends with the job.
    """
    owner, source = username(), jobs()
    job = source.find(job_id, owner)
    if job.has_ended and last_event_id == _event_id(job):
        return Response(status=HTTPStatus.NO_CONTENT)  # ends the reconnections of an EventSource
    if not _free_streams.acquire(blocking=False):
        raise TooBusy("too many clients follow the progress of jobs", retry_after=RETRY_AFTER)
    statuses = follow(job, lambda: source.find(job_id, owner), _end_condition())
    answer = Response(_events(statuses), mimetype="text/event-stream", headers=HEADERS)
    answer.call_on_close(_free_streams.release)
    return answer


def _end_condition() -> Callable[[], bool]:
    """Return a function that tells whether the client has disconnected or the server is shutting down.

    After a shutdown an EventSource connects again, to another worker.
    """
    has_disconnected = client_disconnect.watch(request.environ, is_answered=True)
    is_stopping: Callable[[], bool] = current_app.extensions.get("is_stopping", lambda: False)
    return lambda: has_disconnected() or is_stopping()


def _events(statuses: Iterator[JobStatus | None]) -> Iterator[str]:
    for job in statuses:
        yield HEARTBEAT if job is None else f"id: {_event_id(job)}\ndata: {json.dumps(job.as_json())}\n\n"


def _event_id(job: JobStatus) -> str:
    return "-".join(map(str, job.progress))
