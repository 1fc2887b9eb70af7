"""The worker of a server that starts no process for jobs: `flask run`, or a WSGI server other than gunicorn."""

import logging
import threading
import warnings

from celery.exceptions import SecurityWarning

from flaskapp.captioner.niceness import give_way
from flaskapp.jobs.service import Jobs

log = logging.getLogger(__name__)


class InProcessWorker:
    """A Celery worker in a thread of this process, which ends with it. What it had in hand is done by the next one."""

    def __init__(self, jobs: Jobs) -> None:
        self._jobs = jobs
        self._has_begun = threading.Lock()

    def start(self) -> None:
        """Start it, unless it runs."""
        if self._has_begun.acquire(blocking=False):
            threading.Thread(target=self._live, name="caption jobs", daemon=True).start()

    def _live(self) -> None:
        try:
            warnings.simplefilter("ignore", SecurityWarning)  # of root, who runs the server as well then
            self._jobs.queue.prepare()
            self._jobs.keeper.start()
            give_way()
            self._jobs.queue.worker().start()
        except BaseException:  # SystemExit, too, is nobody else's here
            log.exception("The thread for caption jobs died; the next job starts another")
        finally:
            self._has_begun.release()
