"""Slow, silent, idle and disconnected clients against a running server."""

import socket
import time
from collections.abc import Callable
from contextlib import ExitStack

import pytest
import requests

from tests.conftest import ASSETS, Server
from tests.serving.connections import (
    FORM,
    FORM_HEAD,
    LAST,
    MULTIPART,
    TIMEOUT,
    connected,
    head,
    read_all,
    read_one,
    statuses,
)
from tests.serving.servers import post_star


def test_clients_that_disconnect_during_an_upload_harm_no_request(server: Server) -> None:
    for _ in range(20):
        with connected(server) as connection:
            connection.sendall(head("POST /caption/", f"Content-Length: {len(FORM)}") + FORM[:100])
    assert requests.get(server.url, timeout=TIMEOUT).status_code == 200


@pytest.mark.slow
@pytest.mark.parametrize(
    ("beginning", "answer"),
    [
        (b"GET / HTTP/1.1\r\nHost: x\r\n", ()),
        (head("POST /caption/", f"Content-Type: {MULTIPART}", "Content-Length: 1000"), (408,)),
    ],
    ids=["headers", "body"],
)
def test_two_hundred_slow_senders_delay_no_request_and_time_out(
    server: Server, beginning: bytes, answer: tuple[int, ...]
) -> None:
    with ExitStack() as stack:
        slow = [stack.enter_context(connected(server)) for _ in range(200)]
        began = time.monotonic()
        for connection in slow:
            connection.sendall(beginning)
        for _ in range(3):
            for connection in slow:
                connection.sendall(b"X")
            assert requests.get(server.url, timeout=1).status_code == 200
        assert {tuple(statuses(read_all(connection))) for connection in slow} == {answer}
        assert time.monotonic() - began < 15, "the timeout is ten seconds"
        assert requests.get(server.url, timeout=1).status_code == 200


@pytest.mark.slow
def test_a_stalled_upload_times_out_after_the_same_seconds(server: Server) -> None:
    with connected(server) as connection:
        fields = (f"Content-Type: {MULTIPART}", f"Content-Length: {8 * 2**20}")
        connection.sendall(head("POST /caption/", *fields) + bytes(7 * 2**20))
        began = time.monotonic()
        assert statuses(read_all(connection)) == [408]
        assert time.monotonic() - began < 15, "the timeout is ten seconds; a limit of 64 KiB a second would allow 120"


@pytest.mark.slow
def test_a_silent_connection_is_closed(server: Server) -> None:
    with connected(server) as connection:
        assert read_all(connection) == b""


def test_a_persistent_connection_is_closed_after_the_keep_alive_timeout(
    start_server: Callable[..., Server],
) -> None:
    server = start_server("--workers", "1", "--keep-alive", "1")
    with connected(server) as connection:
        for _ in range(3):
            connection.sendall(head("GET /items/5"))
            assert statuses(read_one(connection)) == [200]
        assert read_all(connection) == b""


def test_connections_beyond_the_limit_wait_for_another_to_end(start_server: Callable[..., Server]) -> None:
    server = start_server("--workers", "1", "--worker-connections", "2", "--keep-alive", "1")
    with connected(server) as first, connected(server) as second, connected(server) as third:
        for connection in (first, second, third):
            connection.sendall(head("GET /items/5"))
        for connection in (first, second, third):
            assert statuses(read_one(connection)) == [200]


def test_the_caption_of_a_disconnected_client_is_abandoned(server: Server) -> None:
    config = b'{"max_length": 64, "min_length": 64, "num_beams": 32}'
    part = b'--cut\r\nContent-Disposition: form-data; name="config"\r\n\r\n' + config + b"\r\n"
    many = FORM_HEAD + (ASSETS / "star.png").read_bytes() + b"\r\n"
    body = part + many * 32 + b"--cut--\r\n"
    with connected(server) as connection:
        connection.sendall(head("POST /caption/", f"Content-Type: {MULTIPART}", f"Content-Length: {len(body)}") + body)
    server.wait_for('"POST /caption/ HTTP/1.1" 504')
    began = time.monotonic()
    while post_star(server.url).status_code == 503:  # until the engine has dropped it
        assert time.monotonic() - began < 5


@pytest.mark.parametrize("version", ["HTTP/1.1", "HTTP/1.0"])
def test_a_client_that_closes_its_sending_half_gets_its_answer(server: Server, version: str) -> None:
    image = (ASSETS / "star.png").read_bytes()
    head = f"POST /image-to-text {version}\r\nHost: x\r\nContent-Length: {len(image)}\r\n\r\n"
    for _ in range(3):
        with connected(server) as connection:
            connection.sendall(head.encode() + image)
            connection.shutdown(socket.SHUT_WR)
            answer = read_all(connection)
        assert answer.startswith(f"{version} 200 OK\r\n".encode())
        assert b"a large pink star" in answer


@pytest.mark.slow
def test_two_hundred_slow_readers_delay_no_request_and_time_out(server: Server) -> None:
    """One of them requests more than the socket buffers hold, so the server waits for it."""
    with ExitStack() as stack:
        slow = [stack.enter_context(connected(server, buffer=4096)) for _ in range(200)]
        for connection in slow:
            connection.sendall(head("GET /openapi.json"))
        requests.get(server.url, timeout=TIMEOUT)  # answered after theirs
        for _ in range(3):
            assert requests.get(server.url, timeout=1).status_code == 200
        slow[0].sendall(head("GET /openapi.json") * 99)  # more than the socket buffers hold
        server.wait_for("the client does not read the answer")
        assert requests.get(server.url, timeout=1).status_code == 200


@pytest.mark.slow
def test_an_upload_that_is_slow_but_never_pauses_is_answered(server: Server) -> None:
    """Send 10 kB a second for longer than the timeout of silent senders."""
    image = (ASSETS / "star.png").read_bytes()
    with connected(server) as connection:
        connection.sendall(head("POST /image-to-text", f"Content-Length: {len(image) + 140_000}", LAST) + image)
        for _ in range(14):
            connection.sendall(bytes(10_000))
            time.sleep(1)  # simulates a slow client
        assert statuses(read_all(connection)) == [200]
