"""No request blocks the other requests of its gevent worker, and a stop loses none."""

import io
import socket
import sqlite3
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests
from gevent.pool import Pool
from PIL import Image
from sqlalchemy import create_engine, text

from flaskapp.serving.worker import DrainingServer
from tests.conftest import Server
from tests.postgresql import PostgreSQL, database_url, postgresql
from tests.serving.servers import log_in
from tests.tls import Certificate, certificate

__all__ = ["certificate", "database_url", "postgresql"]

PROMPT = 0.5  # seconds for a light request


@contextmanager
def asking(server: Server) -> Iterator[list[float]]:
    """Send light requests during the block. Yield the list of their latencies in seconds."""
    taken: list[float] = []
    is_over = threading.Event()

    def ask() -> None:
        with requests.Session() as session:
            while not is_over.is_set():
                began = time.monotonic()
                assert session.get(server.url + "/items/5", timeout=30).status_code == 200
                taken.append(time.monotonic() - began)

    with ThreadPoolExecutor(1) as pool:
        asker = pool.submit(ask)
        try:
            yield taken
        finally:
            is_over.set()
            asker.result(30)


def test_a_locked_sqlite_file_delays_only_requests_that_need_it(
    start_server: Callable[..., Server], tmp_path: Path
) -> None:
    server = start_server("--workers", "1", FLASKAPP_DATABASE_URL=f"sqlite:///{tmp_path / 'locked.db'}")
    assert log_in(server, "ada").status_code == 200
    locking = sqlite3.connect(tmp_path / "locked.db", isolation_level=None)
    locking.execute("BEGIN IMMEDIATE")
    with ThreadPoolExecutor(4) as pool, asking(server) as taken:
        began = time.monotonic()
        answers = list(pool.map(lambda name: log_in(server, name), ["bob", "eve", "mallory", "trent"]))
        waited = time.monotonic() - began
    locking.close()
    assert {answer.status_code for answer in answers} == {503}
    assert waited > 4 * PROMPT, "otherwise the test shows nothing"
    assert max(taken) < PROMPT


@pytest.mark.postgresql
def test_a_locked_postgresql_table_delays_only_requests_that_need_it(
    start_server: Callable[..., Server], postgresql: PostgreSQL
) -> None:
    postgresql.empty()
    server = start_server("--workers", "1", FLASKAPP_DATABASE_URL=postgresql.url)
    assert log_in(server, "ada").status_code == 200
    engine = create_engine(postgresql.url)
    with engine.begin() as locking:
        locking.execute(text("LOCK TABLE logins IN ACCESS EXCLUSIVE MODE"))
        with ThreadPoolExecutor(4) as pool, asking(server) as taken:
            began = time.monotonic()
            answers = list(pool.map(lambda name: log_in(server, name), ["bob", "eve", "mallory", "trent"]))
            waited = time.monotonic() - began
    engine.dispose()
    assert {answer.status_code for answer in answers} == {503}
    assert waited > 4 * PROMPT, "otherwise the test shows nothing"
    assert max(taken) < PROMPT


@pytest.mark.slow
def test_decoding_large_images_does_not_delay_other_requests(start_server: Callable[..., Server]) -> None:
    server = start_server("--workers", "1", FLASKAPP_MAX_UPLOAD_MB="100")
    large = io.BytesIO()
    Image.effect_noise((7000, 7000), 100).convert("RGB").save(large, "PNG", compress_level=1)

    def resize(_: int) -> requests.Response:
        files = {"data": ("large.png", large.getvalue())}
        return requests.post(server.url + "/cv_model/", files=files, timeout=60)

    with ThreadPoolExecutor(2) as pool, asking(server) as taken:
        began = time.monotonic()
        answers = list(pool.map(resize, range(2)))
        waited = time.monotonic() - began
    assert [answer.status_code for answer in answers] == [200, 200]
    assert waited > 2 * PROMPT, "otherwise the test shows nothing"
    assert max(taken) < PROMPT


@pytest.mark.parametrize("is_tls", [False, True], ids=["http", "https"])
def test_a_stop_handles_the_connections_that_wait_to_be_accepted(is_tls: bool, certificate: Certificate) -> None:
    contexts = {}
    client = ssl.create_default_context(cafile=certificate.file)
    if is_tls:
        contexts["ssl_context"] = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        contexts["ssl_context"].load_cert_chain(*certificate)
    pool = Pool(2)
    server = DrainingServer(("127.0.0.1", 0), lambda connection, _: connection.sendall(b"x"), spawn=pool, **contexts)
    server.start()
    connections = [socket.create_connection(("127.0.0.1", server.server_port), timeout=10) for _ in range(2)]
    assert len(pool) == 0, "no other greenlet has run yet"

    def read(connection: socket.socket) -> bytes:
        with client.wrap_socket(connection, server_hostname="localhost") if is_tls else connection as stream:
            return stream.recv(1)

    with ThreadPoolExecutor(2) as threads:
        answers = [threads.submit(read, connection) for connection in connections]
        server.close()
        pool.join(10)
        assert [answer.result(10) for answer in answers] == [b"x", b"x"]
