"""What a worker runs: `celery -A flaskapp.jobs worker`. Beside one of them, `… beat` has old jobs removed."""

import logging
import sys
from typing import Any

from celery.signals import setup_logging, worker_init

from flaskapp import create_app, settings
from flaskapp.captioner import GenerationSettings, captioner
from flaskapp.errors import CaptionerUnavailable, InvalidSetting
from flaskapp.serving import json_log

log = logging.getLogger(__name__)

with settings.exiting_on_error():
    jobs = create_app().extensions["jobs"]
jobs.queue.prepare()
app = jobs.queue.celery


@setup_logging.connect
def log_as_the_server_does(**_: Any) -> None:
    json_log.configure(settings.read_one("LOG_FORMAT"))
    logging.getLogger("celery").setLevel(logging.WARNING)


@worker_init.connect
def begin(**_: Any) -> None:
    """Load the model, onto its device, before the first message. A worker that has none takes none from the others."""
    try:
        captioner.check_device()
        captioner.caption([], GenerationSettings())
    except (InvalidSetting, CaptionerUnavailable) as error:
        log.error("%s", error)
        sys.exit(1)
    jobs.start_threads()
