"""Creates the objects of caption jobs from the settings."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flaskapp.captioner import captioner
from flaskapp.database import Database
from flaskapp.jobs.blobs import Blobs
from flaskapp.jobs.in_process import InProcessWorker
from flaskapp.jobs.lease_renewer import LeaseRenewer
from flaskapp.jobs.ledger import Ledger
from flaskapp.jobs.queue import FOLDER, Queue
from flaskapp.jobs.quotas import Quotas
from flaskapp.jobs.service import Jobs
from flaskapp.jobs.webhooks import Webhooks
from flaskapp.jobs.work import Work


def assemble(config: Mapping[str, Any], database: Database, folder: Path) -> Jobs:
    """Return the jobs of a server or worker. Without a blob store or broker in the settings, they use `folder`."""
    quotas = Quotas(config["MAX_JOBS_MB"] * 2**20, config["MAX_CLIENT_JOB_IMAGES"], config["MAX_CLIENT_JOBS"])
    ledger = Ledger(database, quotas)
    blobs = Blobs(config["BLOB_STORE"] or str(folder / "blobs"))
    queue = Queue(config["BROKER_URL"] or (folder / "queue").as_uri().replace("file", FOLDER, 1))
    jobs = Jobs(
        ledger,
        blobs,
        queue,
        LeaseRenewer(ledger, queue),
        Webhooks(database, config["WEBHOOK_HOSTS"] or (), config["WEBHOOK_SECRET"] or ""),
        chunk_size=config["CAPTIONER_MAX_BATCH"],
        seconds_kept=config["JOB_TTL"],
    )
    if queue.is_local:
        jobs.on_wait = InProcessWorker(jobs).start  # replaced by gunicorn_conf.py
    work = Work(ledger, blobs, jobs.lease_renewer, captioner, config["MAX_MEGAPIXELS"])
    queue.register(work.caption_chunk, jobs.tidy)
    return jobs
