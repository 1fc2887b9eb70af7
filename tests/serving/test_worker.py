"""Clients that are slow, rude or odd, against a running server."""

import re
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from urllib.parse import urlsplit

import pytest
import requests

from tests.conftest import ASSETS, Server, assert_error
from tests.serving.test_gunicorn import WORKERS, post_star, workers_of

PATIENCE = 30  # seconds
MULTIPART = "multipart/form-data; boundary=cut"
FORM_HEAD = b'--cut\r\nContent-Disposition: form-data; name="data"; filename="star.png"\r\n\r\n'
FORM = FORM_HEAD + (ASSETS / "star.png").read_bytes() + b"\r\n--cut--\r\n"


@contextmanager
def connected(server: Server, buffer: int | None = None) -> Iterator[socket.socket]:
    """A connection that keeps no more than so many bytes of an answer unread."""
    address = urlsplit(server.url)
    assert address.hostname
    with socket.socket() as connection:
        connection.settimeout(PATIENCE)
        if buffer is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        connection.connect((address.hostname, address.port))
        yield connection


def head(line: str, *headers: str) -> bytes:
    return "\r\n".join([f"{line} HTTP/1.1", "Host: x", *headers, "", ""]).encode()


def read_all(connection: socket.socket) -> bytes:
    """All that comes until the server closes."""
    return b"".join(iter(lambda: connection.recv(2**16), b""))


def read_one(connection: socket.socket) -> bytes:
    """One answer in JSON."""
    answer = b""
    while not answer.endswith(b"}\n"):
        answer += connection.recv(2**16)
    return answer


def statuses(answer: bytes) -> list[int]:
    return [int(status) for status in re.findall(rb"^HTTP/1\.1 (\d+) ", answer, re.MULTILINE)]


LAST = "Connection: close"


def test_a_request_may_come_byte_by_byte(server: Server) -> None:
    with connected(server) as connection:
        for byte in head("GET /items/5", LAST):
            connection.sendall(bytes([byte]))
        assert read_all(connection).endswith(b'{"item_id":5}\n')


def test_requests_that_come_together_are_answered_in_their_order(server: Server) -> None:
    with connected(server) as connection:
        connection.sendall(b"".join(head(f"GET /items/{number}") for number in range(20)) + head("GET /items/20", LAST))
        assert re.findall(rb'"item_id":(\d+)', read_all(connection)) == [b"%d" % number for number in range(21)]


@pytest.mark.parametrize(
    ("second", "status"),
    [
        (head("POST /login/", "Transfer-Encoding: chunked") + b"zz\r\n", 400),
        (b"GET / HTTP/1.1\r\nX-Long: " + b"x" * 1_000_000, 431),
    ],
    ids=["broken chunks", "a head without an end"],
)
def test_what_is_wrong_after_a_good_request_is_refused_and_ends_no_worker(
    server: Server, second: bytes, status: int
) -> None:
    server.wait_for("Booting worker", times=WORKERS)
    before = workers_of(server)
    with connected(server) as connection:
        connection.sendall(head("GET /items/5") + second)
        assert statuses(read_all(connection)) == [200, status]
    assert requests.get(server.url, timeout=PATIENCE).status_code == 200
    assert workers_of(server) == before


def test_who_asks_before_a_body_after_another_request_is_told_to_go_on(server: Server) -> None:
    with connected(server) as connection:
        fields = ("Expect: 100-continue", "Content-Type: application/json", "Content-Length: 2", LAST)
        connection.sendall(head("GET /items/5") + head("POST /text_model/", *fields))
        answer = b""
        while b"100 Continue" not in answer:
            answer += connection.recv(2**16)
        connection.sendall(b"{}")
        assert statuses(answer + read_all(connection)) == [200, 100, 422]


def test_a_client_that_asks_before_it_sends_a_body_is_told_to_go_on_once(server: Server) -> None:
    with connected(server) as connection:
        fields = ("Expect: 100-continue", f"Content-Type: {MULTIPART}", f"Content-Length: {len(FORM)}", LAST)
        connection.sendall(head("POST /cv_model/", *fields))
        assert connection.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(FORM)
        assert statuses(read_all(connection)) == [200]


def test_a_client_that_asks_to_send_a_gigabyte_is_refused(server: Server) -> None:
    with connected(server) as connection:
        fields = ("Expect: 100-continue", f"Content-Type: {MULTIPART}", f"Content-Length: {2**30}")
        connection.sendall(head("POST /caption/", *fields))
        assert statuses(read_all(connection)) == [100, 413]


def in_chunks(size: int, number: int) -> Iterator[bytes]:
    yield FORM_HEAD
    for _ in range(number):
        yield bytes(size)


def test_a_body_in_chunks_is_read(server: Server) -> None:
    parts = iter([FORM[:100], FORM[100:]])
    answer = requests.post(server.url + "/cv_model/", data=parts, headers={"Content-Type": MULTIPART}, timeout=PATIENCE)
    assert answer.status_code == 200


def test_too_many_chunks_are_refused_and_their_sender_gets_to_read_it(server: Server) -> None:
    answer = requests.post(
        server.url + "/caption/", data=in_chunks(2**20, 17), headers={"Content-Type": MULTIPART}, timeout=PATIENCE
    )
    assert_error(answer, 413)


def test_a_body_in_chunks_is_refused_with_its_first_byte_too_many(server: Server) -> None:
    with connected(server) as connection:
        connection.sendall(head("POST /caption/", f"Content-Type: {MULTIPART}", "Transfer-Encoding: chunked"))
        connection.sendall(b"%x\r\n" % (2**25) + FORM_HEAD + bytes(2**24 + 1 - len(FORM_HEAD)))
        assert statuses(read_all(connection)) == [413]


def test_a_body_that_is_too_long_is_refused_and_its_sender_gets_to_read_it(server: Server) -> None:
    files = {"data": ("zeros.png", bytes(40 * 2**20))}
    assert_error(requests.post(server.url + "/caption/", files=files, timeout=PATIENCE), 413)


@pytest.mark.parametrize(
    "rest",
    [b"zz\r\nhello\r\n", b"5\r\nhello0\r\n\r\n0\r\n\r\n", b"0\r\nA bad: trailer\r\n\r\n"],
    ids=["a size that is no number", "no line break", "a trailer"],
)
def test_broken_chunks_are_refused(server: Server, rest: bytes) -> None:
    with connected(server) as connection:
        connection.sendall(head("POST /login/", "Transfer-Encoding: chunked") + rest)
        assert statuses(read_all(connection)) == [400]


def test_chunks_that_end_too_early_are_refused(server: Server) -> None:
    with connected(server) as connection:
        connection.sendall(head("POST /login/", "Transfer-Encoding: chunked") + b"5\r\nhel")
        connection.shutdown(socket.SHUT_WR)
        assert statuses(read_all(connection)) == [400]


def test_a_body_that_ends_before_its_length_is_refused(server: Server) -> None:
    with connected(server) as connection:
        fields = ("Content-Type: application/x-www-form-urlencoded", "Content-Length: 100")
        connection.sendall(head("POST /text_model/", *fields) + b"text_m=what+came+of+it")
        connection.shutdown(socket.SHUT_WR)
        answer = read_all(connection)
    assert statuses(answer) == [400]
    assert b"the body ended before its length" in answer


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (head(f"GET /items/5?q={'x' * 5000}"), 414),
        (head("GET /", *[f"X-{number}: 1" for number in range(101)]), 431),
        (head("GET /", f"X-Long: {'x' * 9000}"), 431),
        (head("GET /", f"X-Long: {'x' * 100_000}"), 431),
    ],
    ids=["a long address", "many headers", "a long header", "a head that is longer than any may be"],
)
def test_heads_have_bounds(server: Server, request_: bytes, status: int) -> None:
    with connected(server) as connection:
        connection.sendall(request_)
        assert statuses(read_all(connection)) == [status]


def test_a_client_that_leaves_in_the_middle_harms_nobody(server: Server) -> None:
    for _ in range(20):
        with connected(server) as connection:
            connection.sendall(head("POST /caption/", f"Content-Length: {len(FORM)}") + FORM[:100])
    assert requests.get(server.url, timeout=PATIENCE).status_code == 200


@pytest.mark.slow
@pytest.mark.parametrize(
    ("beginning", "answer"),
    [
        (b"GET / HTTP/1.1\r\nHost: x\r\n", ()),
        (head("POST /caption/", f"Content-Type: {MULTIPART}", "Content-Length: 1000"), (408,)),
    ],
    ids=["headers", "body"],
)
def test_two_hundred_slow_senders_keep_nobody_waiting_and_are_let_go(
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
        assert time.monotonic() - began < 15, "the bound is ten seconds"
        assert requests.get(server.url, timeout=1).status_code == 200


@pytest.mark.slow
def test_who_falls_silent_after_most_of_an_upload_is_refused_as_soon(server: Server) -> None:
    with connected(server) as connection:
        fields = (f"Content-Type: {MULTIPART}", f"Content-Length: {8 * 2**20}")
        connection.sendall(head("POST /caption/", *fields) + bytes(7 * 2**20))
        began = time.monotonic()
        assert statuses(read_all(connection)) == [408]
        assert time.monotonic() - began < 15, "the bound is ten seconds; at 64 KiB a second it would have been 120"


@pytest.mark.slow
def test_clients_that_say_nothing_are_let_go(server: Server) -> None:
    with connected(server) as connection:
        assert read_all(connection) == b""


def test_a_connection_that_is_kept_answers_again_until_it_is_idle_for_too_long(
    start_server: Callable[..., Server],
) -> None:
    server = start_server("--workers", "1", "--keep-alive", "1")
    with connected(server) as connection:
        for _ in range(3):
            connection.sendall(head("GET /items/5"))
            assert statuses(read_one(connection)) == [200]
        assert read_all(connection) == b""


def test_connections_beyond_the_most_wait_for_one_to_end(start_server: Callable[..., Server]) -> None:
    server = start_server("--workers", "1", "--worker-connections", "2", "--keep-alive", "1")
    with connected(server) as first, connected(server) as second, connected(server) as third:
        for connection in (first, second, third):
            connection.sendall(head("GET /items/5"))
        for connection in (first, second, third):
            assert statuses(read_one(connection)) == [200]


def test_a_caption_that_nobody_waits_for_any_more_is_not_made(server: Server) -> None:
    config = b'{"max_length": 64, "min_length": 64, "num_beams": 32}'
    part = b'--cut\r\nContent-Disposition: form-data; name="config"\r\n\r\n' + config + b"\r\n"
    many = FORM_HEAD + (ASSETS / "star.png").read_bytes() + b"\r\n"
    body = part + many * 32 + b"--cut--\r\n"
    with connected(server) as connection:
        connection.sendall(head("POST /caption/", f"Content-Type: {MULTIPART}", f"Content-Length: {len(body)}") + body)
    server.wait_for('"POST /caption/ HTTP/1.1" 504')
    began = time.monotonic()
    while post_star(server.url).status_code == 503:  # until the engine has noticed it, too
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
def test_two_hundred_slow_readers_keep_nobody_waiting_and_are_let_go(server: Server) -> None:
    """One of them has asked for more than the system keeps for it, and is waited for."""
    with ExitStack() as stack:
        slow = [stack.enter_context(connected(server, buffer=4096)) for _ in range(200)]
        for connection in slow:
            connection.sendall(head("GET /openapi.json"))
        requests.get(server.url, timeout=PATIENCE)  # after theirs, which take a while to be made
        for _ in range(3):
            assert requests.get(server.url, timeout=1).status_code == 200
        slow[0].sendall(head("GET /openapi.json") * 99)  # more than the system keeps
        server.wait_for("the client takes nothing any more")
        assert requests.get(server.url, timeout=1).status_code == 200


@pytest.mark.slow
def test_an_upload_that_is_slow_but_never_pauses_is_answered(server: Server) -> None:
    """At 10 kB a second, for longer than a sender may be silent."""
    image = (ASSETS / "star.png").read_bytes()
    with connected(server) as connection:
        connection.sendall(head("POST /image-to-text", f"Content-Length: {len(image) + 140_000}", LAST) + image)
        for _ in range(14):
            connection.sendall(bytes(10_000))
            time.sleep(1)  # this is what a slow client does
        assert statuses(read_all(connection)) == [200]
