"""Costs of jobs for PostgreSQL, Redis and the blob store, measured with the calls of servers and workers."""

import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import redis
from sqlalchemy import create_engine, func, select, text

from flaskapp.database import Database
from flaskapp.jobs.blobs import Blobs
from flaskapp.jobs.claims import ChunkId, Outcome
from flaskapp.jobs.ledger import SWEEP_LOCK, Ledger
from flaskapp.jobs.queue import QUEUE, Queue
from tests.postgresql import PostgreSQL, started_postgresql
from tests.redis_server import started_redis

CLIENTS = 8  # concurrent worker processes
CHUNKS = 150  # of each client
CAPTIONS = ["a large red circle left of a small black diamond on a pink background"]
REPEATS = 20  # of calls on an idle server
MESSAGES = 3000
JOB = 300  # chunks of a job in the backlog
BACKLOG = (
    """INSERT INTO caption_jobs (id, owner, fingerprint, config, state, total, size, created_at)
    SELECT 'backlog-' || number, '', '', '{{}}', CASE WHEN 2 * number < {jobs} THEN 'done' ELSE 'running' END, 0, 0, 0
    FROM generate_series(0, {jobs} - 1) AS number""",
    """INSERT INTO caption_job_chunks (job_id, number, is_done, sent_at, claim, attempts, delays)
    SELECT 'backlog-' || job, number, 2 * job < {jobs}, extract(epoch FROM now()),
        CASE WHEN 2 * job < {jobs} THEN 'a claim' END, 0, 0
    FROM generate_series(0, {jobs} - 1) AS job, generate_series(0, {size} - 1) AS number""",
)


@dataclass(frozen=True)
class Costs:
    cycles: float  # chunks claimed and saved a second by CLIENTS processes on the same cores
    transactions: float  # of PostgreSQL for a chunk
    of_chunk: float  # core seconds of PostgreSQL to accept, claim and save a chunk
    of_renewal: float  # to renew a lease
    of_sweep: float  # to look for lost messages among the chunks of `backlog` images
    of_skipped_sweep: float  # to find that another worker sweeps
    of_message: float  # core seconds of Redis from sending to acknowledgement
    overhead: float  # bytes of the blob store for an image beside its own


def measure(chunk: int, backlog: int) -> Costs:
    """Measure the costs, in a minute. `chunk` and `backlog` are numbers of images."""
    with started_postgresql() as postgresql:
        cycles, transactions, of_chunk = _chunks(postgresql, chunk)
        of_renewal, of_sweep, of_skipped_sweep = _maintenance(postgresql, backlog // chunk)
    return Costs(
        cycles, transactions, of_chunk, of_renewal, of_sweep, of_skipped_sweep, _message_cost(), _overhead(chunk)
    )


def _chunks(postgresql: PostgreSQL, chunk: int) -> tuple[float, float, float]:
    database = Database(postgresql.url)
    ledger = Ledger(database)
    names = [f"{number}.jpg" for number in range(CHUNKS * chunk)]
    with _cpu(postgresql) as to_accept:
        jobs = [ledger.open("", None, "", {}, len(names)).id for _ in range(CLIENTS)]
        for job in jobs:
            ledger.accept(job, names, chunk)
    database.close()
    before = _transactions(postgresql)
    with _cpu(postgresql) as to_work, get_context("fork").Pool(CLIENTS) as pool:
        spans = pool.starmap(_work, [(postgresql.url, job, chunk) for job in jobs], chunksize=1)
    count = CLIENTS * CHUNKS
    seconds = max(end for _, end in spans) - min(begin for begin, _ in spans)
    return count / seconds, (_transactions(postgresql) - before) / count, (to_accept.seconds + to_work.seconds) / count


def _work(url: str, job: str, chunk: int) -> tuple[float, float]:
    """Process chunks like a worker without a model. Return the start and end times."""
    database = Database(url)
    ledger = Ledger(database)
    ledger.has_work()
    begin = time.time()
    for number in range(CHUNKS):
        claim = ledger.claim(ChunkId(job, number))
        assert claim is not None
        assert len(claim.images) == chunk
        assert ledger.save(claim, {image: Outcome(captions=CAPTIONS) for image in claim.images})
    end = time.time()
    database.close()
    return begin, end


def _maintenance(postgresql: PostgreSQL, chunks: int) -> tuple[float, float, float]:
    """Measure renewals and sweeps with jobs of `chunks` chunks in the database, half of them done."""
    jobs = chunks // JOB
    engine = create_engine(postgresql.url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        for statement in BACKLOG:
            connection.execute(text(statement.format(jobs=jobs, size=JOB)))
        connection.execute(text("VACUUM ANALYZE"))
    engine.dispose()
    database = Database(postgresql.url)
    ledger = Ledger(database)
    claim = ledger.claim(ChunkId(f"backlog-{jobs - 1}", 0))
    assert claim is not None
    with _cpu(postgresql) as to_renew:
        for _ in range(10 * REPEATS):
            assert ledger.renew(claim)
    with _cpu(postgresql) as to_sweep:
        _sweep(ledger, REPEATS)
    with database.session() as another:
        another.execute(select(func.pg_advisory_xact_lock(SWEEP_LOCK)))
        with _cpu(postgresql) as to_skip:
            _sweep(ledger, 10 * REPEATS)
    database.close()
    return to_renew.seconds / (10 * REPEATS), to_sweep.seconds / REPEATS, to_skip.seconds / (10 * REPEATS)


def _sweep(ledger: Ledger, times: int) -> None:
    for _ in range(times):
        ledger.finish()
        ledger.lost_chunks(is_queue_empty=False)


def _message_cost() -> float:
    with tempfile.TemporaryDirectory() as name, started_redis(Path(name, "redis")) as server:
        queue = Queue(server.url)
        queue.register(lambda job_id, number: None, lambda: None)
        client = redis.Redis.from_url(server.url)
        before = _seconds_of(client)
        with queue.open() as send:
            send(ChunkId("0b6ee9d2-6a4d-4bb6-9a5c-7f1d3c0a8e55", number) for number in range(MESSAGES))
        with queue.celery.connection_for_read() as connection:
            for _ in range(MESSAGES):
                message = connection.default_channel.basic_get(QUEUE)
                assert message is not None
                connection.default_channel.basic_ack(message.delivery_tag)
        seconds = _seconds_of(client) - before
        client.close()
    return seconds / MESSAGES


def _overhead(chunk: int) -> float:
    with tempfile.TemporaryDirectory() as name:
        Blobs(name).write("job", 0, dict.fromkeys(range(chunk), b""))
        return Path(name, "job", "0").stat().st_size / chunk


def _transactions(postgresql: PostgreSQL) -> int:
    engine = create_engine(postgresql.url)
    with engine.connect() as connection:
        count = int(connection.execute(text("SELECT sum(xact_commit) FROM pg_stat_database")).scalar_one())
    engine.dispose()
    return count


def _seconds_of(client: redis.Redis) -> float:
    usage = client.info("cpu")
    return float(usage["used_cpu_sys"] + usage["used_cpu_user"])


@dataclass
class Cpu:
    seconds: float = 0.0


@contextmanager
def _cpu(postgresql: PostgreSQL) -> Iterator[Cpu]:
    """Measure the core seconds of a server's processes during the block."""
    cpu, before = Cpu(), _cpu_of(postgresql)
    yield cpu
    cpu.seconds = _cpu_of(postgresql) - before


def _cpu_of(postgresql: PostgreSQL) -> float:
    """Return the core seconds of the server's first process, its children and its ended children."""
    ticks = 0
    for file in Path("/proc").glob("[0-9]*/stat"):
        try:
            _, parent, *fields = file.read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):  # the process has just ended
            continue
        user, system, childrens_user, childrens_system = map(int, fields[9:13])
        if int(file.parent.name) == postgresql.pid:
            ticks += user + system + childrens_user + childrens_system
        elif int(parent) == postgresql.pid:
            ticks += user + system
    return ticks / os.sysconf("SC_CLK_TCK")
