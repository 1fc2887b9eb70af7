"""Network failures without an error, like a pulled cable."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
from sqlalchemy import select, text

from flaskapp.database import BUSY_TIMEOUT, SILENT, Database
from flaskapp.errors import BrokerUnavailable, DatabaseUnavailable, Unavailable
from flaskapp.jobs.claims import ChunkId
from flaskapp.jobs.ledger import Ledger
from flaskapp.jobs.queue import SUBMIT_TIMEOUT, Queue
from flaskapp.jobs.tables import Chunk
from tests.jobs.hosts import Network, network
from tests.jobs.ledgers import make_job
from tests.postgresql import PostgreSQL, started_postgresql
from tests.redis_server import started_redis

__all__ = ["network"]  # a fixture

SLACK = 3.0  # seconds for the system's coarse timers and a busy machine


@pytest.fixture
def postgresql(network: Network) -> Iterator[PostgreSQL]:
    with started_postgresql(network.address) as server:
        yield server


def seconds_to_fail(call: Callable[[], object], error: type[Unavailable]) -> float:
    start = time.monotonic()
    with pytest.raises(error):
        call()
    return time.monotonic() - start


@pytest.mark.slow
@pytest.mark.postgresql
def test_an_unreachable_database_is_unavailable_in_seconds_and_back_at_once(
    network: Network, postgresql: PostgreSQL
) -> None:
    host, database = network.add_host(), Database(postgresql.url)

    def ask(statement: str = "SELECT 1") -> None:
        with host.entered(), database.session() as session:
            session.execute(text(statement))

    ask()
    threading.Timer(0.5, host.cut_off).start()
    assert seconds_to_fail(lambda: ask("SELECT pg_sleep(2)"), DatabaseUnavailable) < 2 * BUSY_TIMEOUT + SLACK
    assert seconds_to_fail(ask, DatabaseUnavailable) < BUSY_TIMEOUT + SLACK, "with a new connection"
    host.join()
    ask()
    host.cut_off()
    assert seconds_to_fail(ask, DatabaseUnavailable) < 3 * BUSY_TIMEOUT + SLACK, "with a pooled connection"
    host.join()
    ask()
    database.close()


@pytest.mark.slow
@pytest.mark.postgresql
def test_rows_and_connections_of_a_disconnected_host_are_released_in_seconds(
    network: Network, postgresql: PostgreSQL
) -> None:
    host, there, here = network.add_host(), Database(postgresql.url), Database(postgresql.url)
    ledger = Ledger(here)
    chunk = ChunkId(make_job(ledger, 1), 0)
    with host.entered():
        connections = [there.engine.connect(), there.engine.connect()]
    connections[0].execute(select(Chunk).where(Chunk.job_id == chunk.job_id).with_for_update())
    host.cut_off()
    start = time.monotonic()
    claim = None
    while claim is None and time.monotonic() - start < SILENT + BUSY_TIMEOUT + SLACK:
        with suppress(DatabaseUnavailable):  # the row's lock times out
            claim = ledger.claim(chunk)
    assert claim is not None
    is_there = text("SELECT count(*) FROM pg_stat_activity WHERE client_addr = CAST(:address AS inet)")
    left = 2
    while left and time.monotonic() - start < 2 * SILENT + SLACK:
        with here.session() as session:
            left = session.scalar(is_there, {"address": host.address}) or 0
        time.sleep(0.2)  # nothing announces it
    assert not left, "connections of lost hosts would fill the server"
    for connection in connections:
        connection.invalidate()
        connection.close()
    for database in (there, here):
        database.close()


@pytest.mark.redis
def test_an_unreachable_broker_is_unavailable_in_seconds(network: Network, tmp_path: Path) -> None:
    host = network.add_host()
    with started_redis(tmp_path / "redis", network.address) as redis:
        queue = Queue(redis.url)

        def ask() -> bool:
            with host.entered():
                return queue.is_empty()

        assert ask()
        with ExitStack() as stack:
            with host.entered():
                send = stack.enter_context(queue.open())
            host.cut_off()
            with host.entered():
                seconds = seconds_to_fail(lambda: send([ChunkId("a", 0)]), BrokerUnavailable)
            assert seconds < 2 * SUBMIT_TIMEOUT + SLACK
        assert seconds_to_fail(ask, BrokerUnavailable) < 2 * SUBMIT_TIMEOUT + SLACK
        host.join()
        assert ask()
