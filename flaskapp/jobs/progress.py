"""The changes of a job's status, as they happen. The database is polled: no worker notifies the web servers."""

import logging
import time
from collections.abc import Callable, Iterator

from flaskapp.errors import Unavailable, UnknownJob
from flaskapp.jobs.status import JobStatus

log = logging.getLogger(__name__)

POLL_INTERVAL = 1.0  # Seconds between queries
HEARTBEAT_INTERVAL = 15.0  # Seconds without a change before a heartbeat is due


def follow(status: JobStatus, find: Callable[[], JobStatus], is_over: Callable[[], bool]) -> Iterator[JobStatus | None]:
    """Yield the status, and each new one when it differs. None: a heartbeat is due.

    Ends after the last status of a job, when it is deleted, or when `is_over` says so. Waits while the database is
    unavailable.
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
            log.warning("The status of job %s cannot be read, trying again: %s", status.id, error)
        if found.progress != status.progress:
            status = found
            yield status
        elif time.monotonic() - sent_at >= HEARTBEAT_INTERVAL:
            yield None
        else:
            continue
        sent_at = time.monotonic()
