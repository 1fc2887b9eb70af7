"""The job worker under `flask run` and WSGI servers other than gunicorn: a thread, not a process."""

import logging
import threading
import warnings

from celery.exceptions import SecurityWarning

from flaskapp.jobs.service import Jobs
from flaskapp.machine import lower_priority

log = logging.getLogger(__name__)


class InProcessWorker:
    """A Celery worker in a daemon thread. When the process ends, its chunk is free once the lease expires."""

    def __init__(self, jobs: Jobs) -> None:
        self._jobs = jobs
        self._running = threading.Lock()

    def start(self) -> None:
        """Start the thread unless it runs."""
        if self._running.acquire(blocking=False):
            threading.Thread(target=self._run, name="caption jobs", daemon=True).start()

    def _run(self) -> None:
        try:
            warnings.simplefilter("ignore", SecurityWarning)  # about root: the server runs as root, too
            self._jobs.queue.prepare()
            self._jobs.start_threads()
            lower_priority()
            self._jobs.queue.worker().start()
        except BaseException:  # also SystemExit, which would end the thread without a message
            log.exception("The thread of caption jobs failed; the next request for a job starts another one")
        finally:
            self._running.release()
