"""Two web servers and three workers lose workers, the broker and the database in the middle of a job."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

import pytest
import requests

from tests.conftest import Server
from tests.jobs.cluster import Workers, results, scene, submit, wait_until
from tests.postgresql import PostgreSQL, postgresql
from tests.redis_server import RedisServer, redis

__all__ = ["postgresql", "redis"]  # fixtures

IMAGES, POISONED = 240, {7, 100, 239}
SEED = 5


@contextmanager
def watched(urls: list[str]) -> Iterator[list[str]]:
    """Ask servers again and again during the block; what they did wrong is in the list."""
    wrong: list[str] = []
    is_over = threading.Event()

    def ask() -> None:
        while not is_over.wait(0.2):
            for url in urls:
                start = time.monotonic()
                answer = requests.get(url + "/", timeout=30)
                if answer.status_code != 200 or time.monotonic() - start > 5:
                    wrong.append(f"{url}: {answer.status_code} after {time.monotonic() - start:.1f} s")

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield wrong
    finally:
        is_over.set()
        thread.join()


@pytest.mark.slow
@pytest.mark.redis
@pytest.mark.postgresql
def test_every_image_has_one_caption_or_one_reason_whatever_dies(
    start_server: Callable[..., Server], tmp_path: Path, redis: RedisServer, postgresql: PostgreSQL
) -> None:
    postgresql.empty()
    settings = {
        "FLASKAPP_CAPTIONER_MODEL": "embedded",
        "FLASKAPP_DATABASE_URL": postgresql.url,
        "FLASKAPP_BROKER_URL": redis.url,
        "FLASKAPP_BLOB_STORE": str(tmp_path / "blobs"),
        "FLASKAPP_CAPTIONER_MAX_BATCH": "8",
    }
    workers = Workers(settings, tmp_path)
    scenes = [scene(number) for number in range(IMAGES)]
    images = [b"poison" if number in POISONED else image for number, (image, _) in enumerate(scenes)]
    random = Random(SEED)
    try:
        servers = [start_server("--workers", "1", **settings) for _ in range(2)]
        for _ in range(3):
            workers.start()
        with watched([server.url for server in servers]) as wrong:
            job = submit(servers[0].url, images, '{"num_beams": 4}')
            elsewhere = job.replace(servers[0].url, servers[1].url)

            def replace_one() -> None:
                workers.kill(random.randrange(3))
                workers.start()

            def restart(server: RedisServer | PostgreSQL) -> None:
                server.stop()
                server.start()

            events: list[Callable[[], None]] = [
                replace_one, lambda: restart(redis), replace_one, lambda: restart(postgresql), replace_one
            ]  # fmt: skip
            for number, event in enumerate(events):
                share = (number + 1) / (len(events) + 2)
                wait_until(lambda status, share=share: status["done"] >= share * IMAGES, elsewhere, 120)
                event()
            status = wait_until(lambda status: status["state"] == "done", job, 120)
        assert (status["done"], status["failed"]) == (IMAGES - len(POISONED), len(POISONED)), workers.logs()
        found = results(elsewhere)
        assert [result["index"] for result in found] == list(range(IMAGES))
        assert {result["index"] for result in found if "error" in result} == POISONED
        assert all(("captions" in result) != ("error" in result) for result in found)
        right = sum(result.get("captions") == [scenes[result["index"]][1]] for result in found)
        assert right > 0.95 * IMAGES, "each has its own image's caption"
        assert not wrong
    finally:
        workers.stop()
