"""What a worker runs: `celery -A flaskapp.jobs worker`. Beside one of them, `… beat` has old jobs removed."""

import logging
import sys
from typing import Any

from celery.signals import setup_logging, worker_init

from flaskapp import create_app
from flaskapp.captioner import GenerationSettings, captioner
from flaskapp.errors import CaptionerUnavailable

log = logging.getLogger(__name__)

jobs = create_app().extensions["jobs"]
jobs.queue.prepare()
app = jobs.queue.celery


@setup_logging.connect
def log_as_the_server_does(**_: Any) -> None:
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    logging.getLogger("celery").setLevel(logging.WARNING)


@worker_init.connect
def begin(**_: Any) -> None:
    """Load the model, onto its device, before the first message. A worker that has none takes none from the others."""
    try:
        captioner.caption([], GenerationSettings())
    except CaptionerUnavailable as error:
        log.error("%s", error)
        sys.exit(1)
    jobs.keeper.start()
