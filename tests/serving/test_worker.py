"""Split, pipelined, oversized and broken requests against a running server."""

import re
import socket
from collections.abc import Iterator

import pytest
import requests

from tests.conftest import Server, assert_error
from tests.serving.connections import (
    FORM,
    FORM_HEAD,
    LAST,
    MULTIPART,
    TIMEOUT,
    connected,
    head,
    read_all,
    statuses,
)
from tests.serving.servers import WORKERS, workers_of


def test_a_request_may_arrive_byte_by_byte(server: Server) -> None:
    with connected(server) as connection:
        for byte in head("GET /items/5", LAST):
            connection.sendall(bytes([byte]))
        assert read_all(connection).endswith(b'{"item_id":5}\n')


def test_pipelined_requests_are_answered_in_order(server: Server) -> None:
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
def test_a_bad_request_after_a_good_one_is_refused_and_ends_no_worker(
    server: Server, second: bytes, status: int
) -> None:
    server.wait_for("Booting worker", times=WORKERS)
    before = workers_of(server)
    with connected(server) as connection:
        connection.sendall(head("GET /items/5") + second)
        assert statuses(read_all(connection)) == [200, status]
    assert requests.get(server.url, timeout=TIMEOUT).status_code == 200
    assert workers_of(server) == before


def test_a_pipelined_request_with_expect_gets_100_continue(server: Server) -> None:
    with connected(server) as connection:
        fields = ("Expect: 100-continue", "Content-Type: application/json", "Content-Length: 2", LAST)
        connection.sendall(head("GET /items/5") + head("POST /text_model/", *fields))
        answer = b""
        while b"100 Continue" not in answer:
            answer += connection.recv(2**16)
        connection.sendall(b"{}")
        assert statuses(answer + read_all(connection)) == [200, 100, 422]


def test_a_request_with_expect_gets_100_continue_once(server: Server) -> None:
    with connected(server) as connection:
        fields = ("Expect: 100-continue", f"Content-Type: {MULTIPART}", f"Content-Length: {len(FORM)}", LAST)
        connection.sendall(head("POST /cv_model/", *fields))
        assert connection.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(FORM)
        assert statuses(read_all(connection)) == [200]


def test_a_request_with_expect_for_a_gigabyte_is_refused(server: Server) -> None:
    with connected(server) as connection:
        fields = ("Expect: 100-continue", f"Content-Type: {MULTIPART}", f"Content-Length: {2**30}")
        connection.sendall(head("POST /caption/", *fields))
        assert statuses(read_all(connection)) == [100, 413]


def in_chunks(size: int, number: int) -> Iterator[bytes]:
    yield FORM_HEAD
    for _ in range(number):
        yield bytes(size)


def test_a_chunked_body_is_read(server: Server) -> None:
    parts = iter([FORM[:100], FORM[100:]])
    answer = requests.post(server.url + "/cv_model/", data=parts, headers={"Content-Type": MULTIPART}, timeout=TIMEOUT)
    assert answer.status_code == 200


def test_a_too_large_chunked_body_is_refused_with_a_readable_answer(server: Server) -> None:
    answer = requests.post(
        server.url + "/caption/", data=in_chunks(2**20, 17), headers={"Content-Type": MULTIPART}, timeout=TIMEOUT
    )
    assert_error(answer, 413)


def test_a_chunked_body_is_refused_at_the_first_kibibyte_beyond_the_limit(server: Server) -> None:
    with connected(server) as connection:
        connection.sendall(head("POST /caption/", f"Content-Type: {MULTIPART}", "Transfer-Encoding: chunked"))
        connection.sendall(b"%x\r\n" % (2**25) + FORM_HEAD + bytes(2**24 + 2**10 - len(FORM_HEAD)))
        assert statuses(read_all(connection)) == [413]


def test_a_too_large_body_is_refused_with_a_readable_answer(server: Server) -> None:
    files = {"data": ("zeros.png", bytes(40 * 2**20))}
    assert_error(requests.post(server.url + "/caption/", files=files, timeout=TIMEOUT), 413)


@pytest.mark.parametrize(
    "rest",
    [b"zz\r\nhello\r\n", b"5\r\nhello0\r\n\r\n0\r\n\r\n", b"0\r\nA bad: trailer\r\n\r\n"],
    ids=["a size that is no number", "no line break", "a trailer"],
)
def test_broken_chunks_are_refused(server: Server, rest: bytes) -> None:
    with connected(server) as connection:
        connection.sendall(head("POST /login/", "Transfer-Encoding: chunked") + rest)
        assert statuses(read_all(connection)) == [400]


def test_a_truncated_chunked_body_is_refused(server: Server) -> None:
    with connected(server) as connection:
        connection.sendall(head("POST /login/", "Transfer-Encoding: chunked") + b"5\r\nhel")
        connection.shutdown(socket.SHUT_WR)
        assert statuses(read_all(connection)) == [400]


def test_a_body_shorter_than_its_length_is_refused(server: Server) -> None:
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
def test_request_heads_have_limits(server: Server, request_: bytes, status: int) -> None:
    with connected(server) as connection:
        connection.sendall(request_)
        assert statuses(read_all(connection)) == [status]
