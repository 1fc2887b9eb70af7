"""Jobs of 2,000 drawn images on Redis and PostgreSQL, by 1, 2 and 4 workers: `python -m tests.benchmarks.jobs`.

Starts Redis, PostgreSQL (Debian's packages, as root) and the workers on this machine, each worker bound to one core,
submits the job to the application in this process once all workers are ready, and times it. `--chaos` kills workers at
random meanwhile, as `kill -9` does, and restarts both servers. Prints a table and exits with 1 if an image has not
exactly one outcome.
"""

import argparse
import io
import os
import sys
import tempfile
import time
from pathlib import Path
from random import Random
from typing import Any

from flask.testing import FlaskClient

from flaskapp import create_app
from tests.benchmarks.table import print_table
from tests.jobs.cluster import Workers, scene, zip_of
from tests.postgresql import PostgreSQL, started_postgresql
from tests.redis_server import RedisServer, started_redis

MEGABYTES = 128  # of an upload: more than the images have
POLL = 0.2  # seconds
KILL_EVERY = 3.0  # seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--chaos", action="store_true")
    options = parser.parse_args()
    archive = zip_of([scene(number)[0] for number in range(options.images)])
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with started_postgresql() as postgresql:
            for workers in options.workers:
                with started_redis(folder / "redis") as redis:
                    rows.append(run(archive, options.images, workers, folder, redis, postgresql, options.chaos))
    title = f"A job of {options.images} images, {len(os.sched_getaffinity(0))} cores"
    title += ", workers killed, Redis and PostgreSQL restarted" if options.chaos else ""
    print_table(title, ["workers", "seconds", "images/s", "to take it, s", "captions", "errors"], rows)


def run(
    archive: bytes, images: int, count: int, folder: Path, redis: RedisServer, postgresql: PostgreSQL, has_chaos: bool
) -> list[str]:
    """One row of the table."""
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
    logs = folder / f"{count} workers"
    logs.mkdir()
    workers = Workers(settings, logs)
    cores = sorted(os.sched_getaffinity(0))
    try:
        for number in range(count):
            workers.start({cores[number % len(cores)]})
        while len(app.extensions["jobs"].queue.celery.control.ping()) < count:
            pass  # each ping waits for a second
        start = time.perf_counter()
        answer = client.post("/caption_jobs/", data={"data": (io.BytesIO(archive), "images.zip")})
        taken = time.perf_counter() - start
        assert answer.status_code == 202, answer.text
        ended = _watch(client, answer.headers["Location"], workers, redis, postgresql, has_chaos)
        job = client.get(answer.headers["Location"]).get_json()
        _check(client, answer.headers["Location"], images, workers)
    finally:
        workers.stop()
        app.extensions["accounts"].close()
    seconds = ended - start - taken
    rate = f"{images / seconds:.0f}"
    return [str(count), f"{seconds:.1f}", rate, f"{taken:.1f}", str(job["done"]), str(job["failed"])]


def _watch(
    client: FlaskClient, job: str, workers: Workers, redis: RedisServer, postgresql: PostgreSQL, has_chaos: bool
) -> float:
    """When the job was done, by `time.perf_counter`."""
    random, next_blow, blows = Random(1), time.perf_counter() + KILL_EVERY / 2, 0
    while True:
        status: dict[str, Any] = client.get(job).get_json()
        now = time.perf_counter()
        if status.get("state") == "done":
            return now
        if has_chaos and now >= next_blow:
            blows += 1
            next_blow = now + KILL_EVERY
            _strike(blows, random, workers, redis, postgresql)
        time.sleep(POLL)


def _strike(number: int, random: Random, workers: Workers, redis: RedisServer, postgresql: PostgreSQL) -> None:
    if number % 3:
        workers.kill(random.randrange(len(workers.processes)))
        workers.start()
    else:
        server = redis if number % 2 else postgresql
        server.stop()
        server.start()


def _check(client: FlaskClient, job: str, images: int, workers: Workers) -> None:
    lines = client.get(job + "/results?format=csv").text.splitlines()[1:]
    indices = [int(line.partition(",")[0]) for line in lines]
    if indices != list(range(images)):
        sys.exit(f"images were lost or doubled\n{workers.logs()}")


if __name__ == "__main__":
    main()
