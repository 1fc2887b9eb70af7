"""Webhooks: when a job has ended, POST its signed status to the URL that the client gave.

The job's row holds the time of the next attempt, so webhooks survive a restart of the workers. A worker claims a
webhook by setting the time of the attempt after this one, sends it in its own thread, and clears the time when the
receiver has answered 2xx. If the worker dies in between, the webhook is sent twice.
"""

import hashlib
import hmac
import json
import logging
import os
import threading
import time
from collections.abc import Collection

from sqlalchemy import select, update

from flaskapp import fetch, trace_context
from flaskapp.database import Database, current_time, found_a_row
from flaskapp.errors import NotFetched, Unavailable
from flaskapp.jobs.queries import with_counts
from flaskapp.jobs.status import JobStatus
from flaskapp.jobs.tables import Job

log = logging.getLogger(__name__)

SIGNATURE = "X-Flaskapp-Signature"
POLL_INTERVAL = 2.0  # Seconds between queries for webhooks that are due
TIMEOUT = 20.0  # Seconds for an attempt
RETRY_DELAYS = (60.0, 300.0, 1800.0, 7200.0)  # Seconds after an attempt before the next one; longer than an attempt


class Webhooks:
    """Sends the webhooks of one database, to `hosts` only. Without hosts, starts no thread."""

    def __init__(self, database: Database, hosts: Collection[str], secret: str) -> None:
        self._database, self._hosts, self._secret = database, hosts, secret.encode()
        self._lock = threading.Lock()
        self._process = 0  # id of the process that has the thread: threads do not survive a fork

    def start(self) -> None:
        """Start the thread unless this process has it."""
        with self._lock:
            if self._hosts and self._process != os.getpid():
                self._process = os.getpid()
                threading.Thread(target=self._run, name="webhooks", daemon=True).start()

    def _run(self) -> None:
        while True:
            try:
                while self.send_next():
                    pass
            except Unavailable as error:
                log.warning("Webhooks cannot be sent at the moment: %s", error)
            except Exception:  # the thread must not end
                log.exception("Webhooks cannot be sent")
            time.sleep(POLL_INTERVAL)

    def send_next(self) -> bool:
        """Send the webhook that has been due for the longest time. Returns False if none is due."""
        claimed = self._claim()
        if claimed is None:
            return False
        job, status, is_last = claimed
        with trace_context.within(job.traceparent):
            try:
                self._post(job.webhook or "", json.dumps(status.as_json()).encode())
            except NotFetched as error:  # the log names only the host: the URL may contain secrets
                outcome = "and there is no further attempt" if is_last else "and is sent again later"
                log.warning("The webhook of job %s was not received %s: %s", status.id, outcome, error)
            else:
                self._settle(status.id)
        return True

    def _claim(self) -> tuple[Job, JobStatus, bool] | None:
        """Claim a webhook. Returns its job, the status, and whether this is the last attempt; None if none is due."""
        with self._database.session() as session:
            now = current_time(session)
            due = select(Job.id, Job.webhook_attempts).where(Job.webhook_due_at <= now).order_by(Job.webhook_due_at)
            row = session.execute(due.limit(1).with_for_update(skip_locked=True)).one_or_none()
            if row is None:
                return None
            job_id, attempts = row
            is_last = attempts >= len(RETRY_DELAYS)
            # SQLite locks nothing before this update: another worker may have claimed it
            claimed = update(Job).where(Job.id == job_id, Job.webhook_attempts == attempts, Job.webhook_due_at <= now)
            due_at = None if is_last else now + RETRY_DELAYS[attempts]
            if not found_a_row(session, claimed.values(webhook_attempts=attempts + 1, webhook_due_at=due_at)):
                return None
            job, counts = with_counts(session, Job.id == job_id)[0]
            return job, JobStatus.of(job, counts), is_last

    def _settle(self, job_id: str) -> None:
        with self._database.session() as session:
            session.execute(update(Job).where(Job.id == job_id).values(webhook_due_at=None))

    def _post(self, url: str, body: bytes) -> None:
        """Send one POST. Raises NotFetched with the reason unless the receiver answers 2xx."""
        headers = {
            "User-Agent": "flaskapp",
            "Content-Type": "application/json",
            SIGNATURE: "sha256=" + hmac.digest(self._secret, body, hashlib.sha256).hex(),
        }
        fetch.request("POST", url, self._hosts, time.monotonic() + TIMEOUT, headers, body=body)
