"""An installation on hosts of its own, and the worst day of its life: in the test, and in the benchmark at full size.

Two web servers and three workers have a host each. They share Redis, PostgreSQL and a folder, which stands for an
object store. One worker's host and one web server's are cut off in the middle of a job, workers are killed, and Redis
and PostgreSQL are restarted. What is written of each image is counted where it is written, in the database.
"""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from random import Random
from typing import Any

import requests
from sqlalchemy import create_engine, text

from flaskapp.database import Database
from tests.conftest import Server, launch
from tests.jobs.cluster import Workers, results, status_of, submit, wait_until
from tests.jobs.hosts import Host, Network
from tests.postgresql import started_postgresql
from tests.redis_server import started_redis

ANSWER = 10.0  # seconds in which `/` is answered, whatever happens
REFUSAL = 20.0  # seconds in which a server that is cut off says 503
TAKE_OVER = 90.0  # seconds: a lease, and two sweeps of the other workers; or, for a whole job, this once more
COUNT_WRITES = """
    CREATE TABLE written (number int);
    CREATE FUNCTION count_writes() RETURNS trigger LANGUAGE plpgsql AS
        'BEGIN INSERT INTO written VALUES (NEW.number); RETURN NEW; END';
    CREATE TRIGGER count_writes AFTER UPDATE OF captions, error ON caption_job_images
        FOR EACH ROW EXECUTE FUNCTION count_writes();
"""


@dataclass
class Ordeal:
    """What became of a job's images, and of the servers' promises meanwhile."""

    seconds: float
    cut_off: float  # seconds that the worker was
    lost: set[int]
    doubled: set[int]
    results: list[dict[str, Any]]
    wrong: list[str] = field(default_factory=list)


class Installation:
    def __init__(self, folder: Path, network: Network, stack: ExitStack, chunk_size: int) -> None:
        self.redis = stack.enter_context(started_redis(folder / "redis", network.address))
        self.postgresql = stack.enter_context(started_postgresql(network.address))
        self._engine = create_engine(self.postgresql.url, pool_pre_ping=True)
        stack.callback(self._engine.dispose)
        self._count_writes()
        settings = {
            "FLASKAPP_CAPTIONER_MODEL": "embedded",
            "FLASKAPP_DATABASE_URL": self.postgresql.url,
            "FLASKAPP_BROKER_URL": self.redis.url,
            "FLASKAPP_BLOB_STORE": str(folder / "blobs"),
            "FLASKAPP_CAPTIONER_MAX_BATCH": str(chunk_size),
            "FLASKAPP_MAX_UPLOAD_MB": "128",
            "FLASKAPP_MAX_JOB_MB": "128",
        }
        self.near, self.far = (network.add_host() for _ in range(2))
        self.servers = [self._serve(host, settings, stack) for host in (self.near, self.far)]
        self.lonely, *self.hosts = (network.add_host() for _ in range(3))
        self.first, self.others = (Workers(settings, folder / name) for name in ("first", "others"))
        stack.callback(self.others.stop)
        stack.callback(self.first.stop)
        stack.callback(self.lonely.join)  # or it could not say farewell

    @staticmethod
    def _serve(host: Host, settings: dict[str, str], stack: ExitStack) -> Server:
        with host.entered():
            server = launch("--workers", "1", address=host.address, **settings)
        stack.callback(server.close)
        server.wait_for("Booting worker")
        return server

    def _count_writes(self) -> None:
        database = Database(self.postgresql.url)
        with database.session() as session:  # which makes the tables
            session.execute(text(COUNT_WRITES))
        database.close()

    def written(self) -> Counter[int]:
        """How often an outcome was written, for each image."""
        return Counter(number for (number,) in self._rows("SELECT number FROM written"))

    def claims(self) -> dict[int, str]:
        """By which right the chunks are worked at that are not done."""
        rows = self._rows("SELECT number, claim FROM caption_job_chunks WHERE NOT is_done AND claim IS NOT NULL")
        return dict(rows)

    def _rows(self, query: str) -> list[Any]:
        with self._engine.connect() as connection:
            return [tuple(row) for row in connection.execute(text(query))]


@contextmanager
def installed(folder: Path, network: Network, chunk_size: int) -> Iterator[Installation]:
    with ExitStack() as stack:
        yield Installation(folder, network, stack, chunk_size)


def endure(cluster: Installation, images: Sequence[bytes], config: str, blows: int, random: Random) -> Ordeal:
    """Caption some images. Fails where a worker or a server does not do as it should, except for `Ordeal`'s."""
    near, far = cluster.servers
    cluster.first.start(host=cluster.lonely)
    with watched([(None, near.url), (cluster.far, far.url)]) as wrong, ThreadPoolExecutor(1) as apart:
        start = time.monotonic()
        job = submit(near.url, images, config)
        ask = partial(status_of, job)
        held, cut = _cut_off_at_work(cluster, ask), time.monotonic()
        for host in cluster.hosts:
            cluster.others.start(host=host)
        promises = apart.submit(_keep_promises, cluster.far, far.url, job.replace(near.url, ""))
        _strike(cluster, ask, len(images), blows, random)
        wait_until(lambda claims: held.items().isdisjoint(claims.items()), cluster.claims, TAKE_OVER)
        cluster.lonely.join()
        cut_off = time.monotonic() - cut
        wait_until(lambda status: status["state"] == "done", ask, 2 * TAKE_OVER)
        seconds = time.monotonic() - start
        promises.result()
    written = cluster.written()
    everything = set(range(len(images)))
    doubled = {number for number, times in written.items() if times > 1}
    return Ordeal(seconds, cut_off, everything - written.keys(), doubled, results(job), wrong)


def work_alone(cluster: Installation, images: Sequence[bytes]) -> None:
    """Check that the worker that was cut off works again: no other worker is left."""
    cluster.others.stop()
    job = submit(cluster.servers[1].url, images)
    wait_until(lambda status: status["done"] == len(images), partial(status_of, job), TAKE_OVER)


def _cut_off_at_work(cluster: Installation, ask: Callable[[], Any]) -> dict[int, str]:
    """Cut off the only worker while it has a chunk. Returns that, and its claim."""
    wait_until(lambda status: status["done"] > 0, ask, 60)
    for _ in range(100):
        wait_until(bool, cluster.claims, 60)  # lost packets delay the worker: without this it would hardly get on
        cluster.lonely.cut_off()
        if held := cluster.claims():
            return held
        cluster.lonely.join()  # the chunk was done in between
    raise AssertionError("the worker was never found at work")


def _strike(cluster: Installation, ask: Callable[[], Any], total: int, blows: int, random: Random) -> None:
    """Kill a worker, restart Redis, kill a worker, restart PostgreSQL, and so on, as the job goes on."""

    def replace_one() -> None:
        cluster.others.replace(random.randrange(len(cluster.others.processes)))

    def restart(server: Any) -> None:
        server.stop()
        server.start()

    all_blows = [replace_one, partial(restart, cluster.redis), replace_one, partial(restart, cluster.postgresql)]
    for number, blow in enumerate(islice(cycle(all_blows), blows)):
        share = (number + 1) / (blows + 2)
        wait_until(lambda status, share=share: status["done"] >= share * total, ask, TAKE_OVER)
        blow()


def _keep_promises(host: Host, url: str, job: str) -> None:
    """Cut a web server off for a while, and ask it from its own host what it then still promises."""

    def ask(method: str, path: str, **body: Any) -> tuple[int, float]:
        with host.entered():
            start = time.monotonic()
            answer = requests.request(method, url + path, timeout=2 * REFUSAL, **body)
            return answer.status_code, time.monotonic() - start

    host.cut_off()
    asked = [("GET", "/livez", 200), ("GET", "/readyz", 503), ("GET", job, 503), ("GET", job + "/results", 503)]
    for method, path, expected in asked:
        status, seconds = ask(method, path)
        assert (status, seconds < REFUSAL) == (expected, True), f"{path}: {status} after {seconds:.1f} s"
    status, seconds = ask("POST", "/caption_jobs/", files={"data": b"any"})
    assert (status, seconds < REFUSAL) == (503, True), f"a job was not refused: {status} after {seconds:.1f} s"
    host.join()
    wait_until(lambda answer: answer[0] == 200, partial(ask, "GET", "/readyz"), REFUSAL)


@contextmanager
def watched(urls: Sequence[tuple[Host | None, str]]) -> Iterator[list[str]]:
    """Ask servers again and again during the block, each from a host; what they did wrong is in the list."""
    wrong: list[str] = []
    is_over = threading.Event()

    def ask(host: Host | None, url: str) -> None:
        with ExitStack() as stack:
            if host is not None:
                stack.enter_context(host.entered())
            while not is_over.wait(0.2):
                start = time.monotonic()
                try:
                    status = str(requests.get(url + "/", timeout=30).status_code)
                except requests.RequestException as error:
                    status = repr(error)
                if status != "200" or time.monotonic() - start > ANSWER:
                    wrong.append(f"{url}: {status} after {time.monotonic() - start:.1f} s")

    threads = [threading.Thread(target=ask, args=each) for each in urls]
    for thread in threads:
        thread.start()
    try:
        yield wrong
    finally:
        is_over.set()
        for thread in threads:
            thread.join()
