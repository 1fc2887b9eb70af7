"""The job worker under `flask run` and WSGI servers other than gunicorn, which start no process for it."""

import logging
import threading
import warnings

from celery.exceptions import SecurityWarning

from flaskapp.jobs.service import Jobs
from flaskapp.machine import lower_priority

log = logging.getLogger(__name__)


class InProcessWorker:
    """A Celery worker in a daemon thread. The next worker takes over its chunk when the lease expires."""

    def __init__(self, jobs: Jobs) -> None:
        self._jobs = jobs
        self._running = threading.Lock()

    def start(self) -> None:
        """Start it, unless it runs."""
        if self._running.acquire(blocking=False):
            threading.Thread(target=self._run, name="caption jobs", daemon=True).start()

    def _run(self) -> None:
        try:
            warnings.simplefilter("ignore", SecurityWarning)  # the server runs as root as well then
            self._jobs.queue.prepare()
            self._jobs.start_threads()
            lower_priority()
            self._jobs.queue.worker().start()
        except BaseException:  # SystemExit as well: it would end this thread only, and silently
            log.exception("The thread for caption jobs failed; the next request for a job starts another")
        finally:
            self._running.release()
