"""Raw connections to a running server, for clients that misbehave or are slow."""

import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

from tests.conftest import ASSETS, Server

TIMEOUT = 30  # seconds
MULTIPART = "multipart/form-data; boundary=cut"
FORM_HEAD = b'--cut\r\nContent-Disposition: form-data; name="data"; filename="star.png"\r\n\r\n'
FORM = FORM_HEAD + (ASSETS / "star.png").read_bytes() + b"\r\n--cut--\r\n"


@contextmanager
def connected(server: Server, buffer: int | None = None) -> Iterator[socket.socket]:
    """Return a connection with a receive buffer of `buffer` bytes."""
    address = urlsplit(server.url)
    assert address.hostname
    with socket.socket() as connection:
        connection.settimeout(TIMEOUT)
        if buffer is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        connection.connect((address.hostname, address.port))
        yield connection


def head(line: str, *headers: str) -> bytes:
    return "\r\n".join([f"{line} HTTP/1.1", "Host: x", *headers, "", ""]).encode()


def read_all(connection: socket.socket) -> bytes:
    """Read until the server closes."""
    return b"".join(iter(lambda: connection.recv(2**16), b""))


def read_one(connection: socket.socket) -> bytes:
    """Read one JSON answer."""
    answer = b""
    while not answer.endswith(b"}\n"):
        answer += connection.recv(2**16)
    return answer


def statuses(answer: bytes) -> list[int]:
    return [int(status) for status in re.findall(rb"^HTTP/1\.1 (\d+) ", answer, re.MULTILINE)]


LAST = "Connection: close"
