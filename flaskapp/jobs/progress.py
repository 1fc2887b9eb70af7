"""Follows the status of a job. Polls the database, because workers do not notify web servers."""

import logging
import time
from collections.abc import Callable, Iterator

from flaskapp.errors import Unavailable, UnknownJob
from flaskapp.jobs.status import JobStatus

log = logging.getLogger(__name__)

POLL_INTERVAL = 1.0  # Seconds between queries
HEARTBEAT_INTERVAL = 15.0  # Seconds without a change before a heartbeat is due


def follow(status: JobStatus, find: Callable[[], JobStatus], is_over: Callable[[], bool]) -> Iterator[JobStatus | None]:
    """Yield the status, then each status with changed progress, and None when a heartbeat is due.

    Ends when the job has ended or was deleted, or when `is_over()`. While the database is unavailable, keeps trying.
    """
    yield status
    sent_at = time.monotonic()
    while not status.has_ended:
        time.sleep(POLL_INTERVAL)
        if is_over():
            return
        found = status
        try:
            found = find()
        except UnknownJob:
            return
        except Unavailable as error:
            log.warning("The status of job %s cannot be read; retrying: %s", status.id, error)
        if found.progress != status.progress:
            status = found
            yield status
        elif time.monotonic() - sent_at >= HEARTBEAT_INTERVAL:
            yield None
        else:
            continue
        sent_at = time.monotonic()
