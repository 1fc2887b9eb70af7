"""Persistent connections between requests, against a running server."""

import resource
import socket
import ssl
import time
from collections.abc import Callable
from contextlib import ExitStack

import pytest

from flaskapp.serving.kept_connections import HEAD_TIMEOUT
from tests.conftest import Server, skip_unless_ci
from tests.serving.connections import LAST, connected, head, read_all, read_one, statuses
from tests.tls import Certificate, certificate

__all__ = ["certificate"]

REQUEST = head("GET /items/5")


def ask(connection: socket.socket) -> list[int]:
    connection.sendall(REQUEST)
    return statuses(read_one(connection))


def stays_open(connection: socket.socket, seconds: float) -> bool:
    """Return whether the server keeps a connection open for this long."""
    connection.settimeout(seconds)
    try:
        return connection.recv(1) != b""
    except TimeoutError:
        return True


@pytest.mark.slow
def test_an_idle_connection_is_kept_longer_than_the_timeout_of_a_request_head(server: Server) -> None:
    with connected(server) as connection:
        assert ask(connection) == [200]
        assert stays_open(connection, HEAD_TIMEOUT + 2)
        assert ask(connection) == [200]


def test_a_later_request_head_has_the_same_timeout_as_the_first(server: Server) -> None:
    with connected(server) as connection:
        assert ask(connection) == [200]
        connection.sendall(REQUEST[:-2])
        assert not stays_open(connection, 4 * HEAD_TIMEOUT)


def test_further_idle_connections_are_closed_sooner_when_most_are_idle(start_server: Callable[..., Server]) -> None:
    server = start_server("--workers", "1", "--worker-connections", "4")
    with connected(server) as first, connected(server) as second, connected(server) as third:
        for connection in (first, second, third):
            assert ask(connection) == [200]
        assert not stays_open(third, 4 * HEAD_TIMEOUT)
        assert ask(first) == ask(second) == [200]


def test_pipelined_requests_are_all_answered(server: Server) -> None:
    with connected(server) as connection:
        connection.sendall(REQUEST * 3 + head("GET /items/5", LAST))
        assert statuses(read_all(connection)) == [200] * 4


def test_requests_pipelined_over_tls_are_all_answered(
    start_server: Callable[..., Server], certificate: Certificate
) -> None:
    """Decrypted but unread bytes do not make the socket readable."""
    server = start_server("--workers", "1", "--certfile", str(certificate.file), "--keyfile", str(certificate.key))
    context = ssl.create_default_context(cafile=str(certificate.file))
    with connected(server) as plain, context.wrap_socket(plain, server_hostname="localhost") as connection:
        connection.sendall(REQUEST * 3 + head("GET /items/5", LAST))
        assert statuses(read_all(connection)) == [200] * 4


def test_while_the_server_stops_idle_connections_take_one_more_request_and_delay_it_little(
    start_server: Callable[..., Server],
) -> None:
    server = start_server("--workers", "1")
    with connected(server) as silent, connected(server) as asking:
        assert ask(silent) == ask(asking) == [200]
        began = time.monotonic()
        server.process.terminate()
        server.wait_for("Handling signal: term")
        asking.sendall(REQUEST)
        assert statuses(read_all(asking)) == [200]
        assert server.process.wait(40) == 0
        assert time.monotonic() - began < 15, "requests may take 30 seconds and idle connections 75"
        assert read_all(silent) == b""


@pytest.mark.slow
def test_connections_with_descriptors_beyond_1023_are_kept(start_server: Callable[..., Server]) -> None:
    """`select` does not support such descriptors."""
    number = 1100
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if 0 <= hard < 2 * number:
        skip_unless_ci("a process may have too few files")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 2 * number), hard))
    try:
        server = start_server("--workers", "1", "--worker-connections", "2000")
        with ExitStack() as stack:
            for _ in range(number):
                connection = stack.enter_context(connected(server))
                assert ask(connection) == [200]
            assert ask(connection) == [200]
        assert server.count("Traceback") == 0
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.slow
def test_gthread_workers_close_silent_connections_sooner(start_server: Callable[..., Server]) -> None:
    server = start_server("--workers", "1", "--worker-class", "gthread", "--threads", "4")
    with connected(server) as connection:
        assert not stays_open(connection, 6 * HEAD_TIMEOUT)
