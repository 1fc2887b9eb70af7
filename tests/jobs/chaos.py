"""A chaos test of an installation on several hosts, for the test and, at full size, the benchmark.

Two web servers and three workers have a host each. They share Redis, PostgreSQL and a folder, which stands for an
object store. During a job, one worker's host and one web server's are disconnected, workers are killed, and Redis and
PostgreSQL are restarted. A trigger in the database counts the outcomes written for each image.
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
from tests.jobs.cluster import Workers, poll_until, results, status_of, submit
from tests.jobs.hosts import Host, Network
from tests.postgresql import started_postgresql
from tests.redis_server import started_redis

ANSWER_TIMEOUT = 10.0  # seconds in which `/` is always answered
REFUSAL_TIMEOUT = 20.0  # seconds in which a disconnected server answers 503
TAKEOVER_TIMEOUT = 90.0  # seconds: a lease and two sweeps of the other workers
COUNT_WRITES = """
    CREATE TABLE written (number int);
    CREATE FUNCTION count_writes() RETURNS trigger LANGUAGE plpgsql AS
        'BEGIN INSERT INTO written VALUES (NEW.number); RETURN NEW; END';
    CREATE TRIGGER count_writes AFTER UPDATE OF captions, error ON caption_job_images
        FOR EACH ROW EXECUTE FUNCTION count_writes();
"""


@dataclass
class ChaosResult:
    """The outcomes of a job's images, and the servers' wrong answers meanwhile."""

    seconds: float
    cut_off: float  # seconds that the worker was disconnected
    lost: set[int]
    duplicated: set[int]
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
        self.stable_host, self.isolated_host = (network.add_host() for _ in range(2))
        self.servers = [self._serve(host, settings, stack) for host in (self.stable_host, self.isolated_host)]
        self.isolated_worker_host, *self.hosts = (network.add_host() for _ in range(3))
        self.first, self.others = (Workers(settings, folder / name) for name in ("first", "others"))
        stack.callback(self.others.stop)
        stack.callback(self.first.stop)
        stack.callback(self.isolated_worker_host.join)  # its worker needs the network to stop

    @staticmethod
    def _serve(host: Host, settings: dict[str, str], stack: ExitStack) -> Server:
        with host.entered():
            server = launch("--workers", "1", address=host.address, **settings)
        stack.callback(server.close)
        server.wait_for("Booting worker")
        return server

    def _count_writes(self) -> None:
        database = Database(self.postgresql.url)
        with database.session() as session:  # creates the tables
            session.execute(text(COUNT_WRITES))
        database.close()

    def written(self) -> Counter[int]:
        """Return the number of written outcomes for each image."""
        return Counter(number for (number,) in self._rows("SELECT number FROM written"))

    def claims(self) -> dict[int, str]:
        """Return the claims of unfinished chunks."""
        rows = self._rows("SELECT number, claim FROM caption_job_chunks WHERE NOT is_done AND claim IS NOT NULL")
        return dict(rows)

    def _rows(self, query: str) -> list[Any]:
        with self._engine.connect() as connection:
            return [tuple(row) for row in connection.execute(text(query))]


@contextmanager
def installed(folder: Path, network: Network, chunk_size: int) -> Iterator[Installation]:
    with ExitStack() as stack:
        yield Installation(folder, network, stack, chunk_size)


def run_chaos(cluster: Installation, images: Sequence[bytes], config: str, faults: int, random: Random) -> ChaosResult:
    """Caption images during faults. Fail if a worker or server does not recover; other errors are in the result."""
    stable, isolated = cluster.servers
    cluster.first.start(host=cluster.isolated_worker_host)
    with (
        monitored([(None, stable.url), (cluster.isolated_host, isolated.url)]) as wrong,
        ThreadPoolExecutor(1) as pool,
    ):
        start = time.monotonic()
        job = submit(stable.url, images, config)
        ask = partial(status_of, job)
        held, cut_at = _cut_off_with_chunk(cluster, ask), time.monotonic()
        for host in cluster.hosts:
            cluster.others.start(host=host)
        cut_server_check = pool.submit(
            _check_cut_off_server, cluster.isolated_host, isolated.url, job.replace(stable.url, "")
        )
        _inject_faults(cluster, ask, len(images), faults, random)
        poll_until(lambda claims: held.items().isdisjoint(claims.items()), cluster.claims, TAKEOVER_TIMEOUT)
        cluster.isolated_worker_host.join()
        cut_off = time.monotonic() - cut_at
        poll_until(lambda status: status["state"] == "done", ask, 2 * TAKEOVER_TIMEOUT)
        seconds = time.monotonic() - start
        cut_server_check.result()
    written = cluster.written()
    everything = set(range(len(images)))
    duplicated = {number for number, times in written.items() if times > 1}
    return ChaosResult(seconds, cut_off, everything - written.keys(), duplicated, results(job), wrong)


def check_recovery(cluster: Installation, images: Sequence[bytes]) -> None:
    """Check that the disconnected worker works again, with the other workers stopped."""
    cluster.others.stop()
    job = submit(cluster.servers[1].url, images)
    poll_until(lambda status: status["done"] == len(images), partial(status_of, job), TAKEOVER_TIMEOUT)


def _cut_off_with_chunk(cluster: Installation, ask: Callable[[], Any]) -> dict[int, str]:
    """Cut off the only worker while it has a chunk. Return the chunk's claim."""
    poll_until(lambda status: status["done"] > 0, ask, 60)
    for _ in range(100):
        poll_until(bool, cluster.claims, 60)  # lost packets slow the worker down, so wait until it has a chunk
        cluster.isolated_worker_host.cut_off()
        if held := cluster.claims():
            return held
        cluster.isolated_worker_host.join()  # the chunk was already done
    raise AssertionError("the worker never had a chunk when it was cut off")


def _inject_faults(cluster: Installation, ask: Callable[[], Any], total: int, faults: int, random: Random) -> None:
    """Kill a worker, restart Redis, kill a worker, restart PostgreSQL, and so on, while the job runs."""

    def replace_one() -> None:
        cluster.others.replace(random.randrange(len(cluster.others.processes)))

    def restart(server: Any) -> None:
        server.stop()
        server.start()

    all_faults = [replace_one, partial(restart, cluster.redis), replace_one, partial(restart, cluster.postgresql)]
    for number, fault in enumerate(islice(cycle(all_faults), faults)):
        share = (number + 1) / (faults + 2)
        poll_until(lambda status, share=share: status["done"] >= share * total, ask, TAKEOVER_TIMEOUT)
        fault()


def _check_cut_off_server(host: Host, url: str, job: str) -> None:
    """Cut a web server off for a while, and check its answers from its own host."""

    def ask(method: str, path: str, **body: Any) -> tuple[int, float]:
        with host.entered():
            start = time.monotonic()
            answer = requests.request(method, url + path, timeout=2 * REFUSAL_TIMEOUT, **body)
            return answer.status_code, time.monotonic() - start

    host.cut_off()
    asked = [("GET", "/livez", 200), ("GET", "/readyz", 503), ("GET", job, 503), ("GET", job + "/results", 503)]
    for method, path, expected in asked:
        status, seconds = ask(method, path)
        assert (status, seconds < REFUSAL_TIMEOUT) == (expected, True), f"{path}: {status} after {seconds:.1f} s"
    status, seconds = ask("POST", "/caption_jobs/", files={"data": b"any"})
    assert (status, seconds < REFUSAL_TIMEOUT) == (503, True), f"a job was not refused: {status} after {seconds:.1f} s"
    host.join()
    poll_until(lambda answer: answer[0] == 200, partial(ask, "GET", "/readyz"), REFUSAL_TIMEOUT)


@contextmanager
def monitored(urls: Sequence[tuple[Host | None, str]]) -> Iterator[list[str]]:
    """Request `/` of servers during the block, each from a host. Yield the list of wrong or late answers."""
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
                if status != "200" or time.monotonic() - start > ANSWER_TIMEOUT:
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
