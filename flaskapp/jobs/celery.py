"""The application of `celery -A flaskapp.jobs worker`, and of `… beat`, which schedules the removal of old jobs."""

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
def configure_logging(**_: Any) -> None:
    json_log.configure(settings.read_one("LOG_FORMAT"))
    logging.getLogger("celery").setLevel(logging.WARNING)


@worker_init.connect
def load_model(**_: Any) -> None:
    """Load the model before the worker takes messages. Exit without a model, so that other workers get the messages."""
    try:
        captioner.check_device()
        captioner.caption([], GenerationSettings())
    except (InvalidSetting, CaptionerUnavailable) as error:
        log.error("%s", error)
        sys.exit(1)
    jobs.start_threads()
