"""Seconds of a job for each number of workers, each bound to one core, beside Redis and PostgreSQL."""

import io
import os
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from flaskapp import create_app
from tests.benchmarks.drawing import draw
from tests.benchmarks.table import print_table
from tests.jobs.cluster import Workers, poll_until, scene, zip_of
from tests.postgresql import PostgreSQL, started_postgresql
from tests.redis_server import RedisServer, started_redis

PICTURE = Path(__file__).parent / "jobs.svg"
MEGABYTES = 128  # of an upload, more than the images have
TIMEOUT = 600  # seconds


@dataclass(frozen=True)
class Run:
    workers: int
    accepting: float  # seconds to accept the job
    seconds: float  # from then to the job's end
    rate: float  # images a second
    done: int
    failed: int


def compare(images: int, workers: Sequence[int], is_drawn: bool) -> None:
    """Print a table and optionally draw a chart."""
    runs = measure(images, workers)
    title = f"A job of {images} images, embedded model, {len(os.sched_getaffinity(0))} CPU cores"
    rows = [
        [
            str(run.workers),
            f"{run.seconds:.1f}",
            f"{run.rate:.0f}",
            f"{run.accepting:.1f}",
            str(run.done),
            str(run.failed),
        ]
        for run in runs
    ]
    print_table(title, ["workers", "seconds", "images/s", "to accept it, s", "captions", "errors"], rows)
    if is_drawn:
        bars = {f"flaskapp, {run.workers} worker{'s' * (run.workers > 1)}": run.rate for run in runs}
        draw(PICTURE, title + ", shared with Redis and PostgreSQL", "images a second", {"": bars})


def measure(images: int, workers: Sequence[int]) -> list[Run]:
    archive = zip_of([scene(number)[0] for number in range(images)])
    runs = []
    with tempfile.TemporaryDirectory() as name, started_postgresql() as postgresql:
        for count in workers:
            folder = Path(name, str(count))
            folder.mkdir()
            with started_redis(folder / "redis") as redis:
                runs.append(_run(archive, images, count, folder, redis, postgresql))
    return runs


def _run(archive: bytes, images: int, count: int, folder: Path, redis: RedisServer, postgresql: PostgreSQL) -> Run:
    """Time a job from its acceptance by the application in this process, with all workers ready."""
    postgresql.empty()
    settings = {
        "FLASKAPP_CAPTIONER_MODEL": "embedded",
        "FLASKAPP_DATABASE_URL": postgresql.url,
        "FLASKAPP_BROKER_URL": redis.url,
        "FLASKAPP_BLOB_STORE": str(folder / "blobs"),
        "FLASKAPP_MAX_JOB_MB": str(MEGABYTES),
    }
    plain = {name.removeprefix("FLASKAPP_"): value for name, value in settings.items()}
    app = create_app(plain | {"MAX_UPLOAD_MB": MEGABYTES})
    client = app.test_client()
    workers = Workers(settings, folder / "workers")
    cores = sorted(os.sched_getaffinity(0))
    try:
        for number in range(count):
            workers.start({cores[number % len(cores)]})
        while len(app.extensions["jobs"].queue.celery.control.ping()) < count:
            pass  # each ping takes a second
        start = time.perf_counter()
        answer = client.post("/caption_jobs/", data={"data": (io.BytesIO(archive), "images.zip")})
        taken = time.perf_counter()
        assert answer.status_code == 202, answer.text
        job = answer.headers["Location"]
        status = poll_until(lambda status: status["state"] == "done", lambda: client.get(job).get_json(), TIMEOUT)
        seconds = time.perf_counter() - taken
        lines = client.get(job + "/results?format=csv").text.splitlines()[1:]
        assert [int(line.partition(",")[0]) for line in lines] == list(range(images)), workers.logs()
    finally:
        workers.stop()
        app.extensions["accounts"].close()
    return Run(count, taken - start, seconds, images / seconds, status["done"], status["failed"])
