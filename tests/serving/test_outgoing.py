"""Answers, by a pair of sockets: the other end takes them, or does not."""

import io
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace

import pytest

from flaskapp.serving import outgoing
from flaskapp.serving.outgoing import Outgoing

HEAD = b"HTTP/1.1 200 OK\r\n\r\n"
LARGE = bytes(range(256)) * 2**14  # 4 MiB, more than the buffers between two sockets hold


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


@contextmanager
def reading(sock: socket.socket) -> Iterator[list[bytes]]:
    """What comes, until the other end is closed; all of it is there in the end."""
    arrived: list[bytes] = []
    reader = threading.Thread(target=lambda: arrived.extend(iter(lambda: sock.recv(2**16), b"")))
    reader.start()
    yield arrived
    reader.join(30)


@pytest.mark.parametrize("way", ["sendall", "sendfile"])
def test_all_of_an_answer_arrives(pair: tuple[socket.socket, socket.socket], way: str) -> None:
    ours, theirs = pair
    with reading(theirs) as arrived:
        answer = Outgoing(ours)
        answer.sendall(HEAD)
        if way == "sendall":
            answer.sendall(LARGE)
            answer.sendall(LARGE)
        else:
            assert answer.sendfile(io.BytesIO(b"before" + LARGE + LARGE), 6) == 2 * len(LARGE)
        ours.shutdown(socket.SHUT_WR)
    assert b"".join(arrived) == HEAD + LARGE + LARGE


def test_a_head_goes_with_the_beginning_of_its_body_or_alone_when_there_is_none() -> None:
    ours, theirs = socket.socketpair(type=socket.SOCK_SEQPACKET)
    with ours, theirs:
        answer = Outgoing(ours)
        for part in (HEAD, b"one", b"two"):
            answer.sendall(part)
        answer.flush()
        without_body = Outgoing(ours)
        without_body.sendall(HEAD)
        without_body.flush()
        without_body.flush()
        ours.shutdown(socket.SHUT_WR)
        assert list(iter(lambda: theirs.recv(100), b"")) == [HEAD + b"one", b"two", HEAD]


def test_the_time_that_an_answer_took_to_be_made_is_not_the_clients(
    pair: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, theirs = pair
    with reading(theirs) as arrived:
        answer = Outgoing(ours)
        answer.sendall(HEAD)
        an_hour_later = time.monotonic() + 3600
        monkeypatch.setattr(outgoing, "time", SimpleNamespace(monotonic=lambda: an_hour_later))
        answer.sendall(LARGE)
        ours.shutdown(socket.SHUT_WR)
    assert b"".join(arrived) == HEAD + LARGE


def test_a_client_that_takes_nothing_is_given_up(
    pair: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outgoing, "WRITE_SECONDS", 0.05)
    with pytest.raises(TimeoutError):
        Outgoing(pair[0]).sendall(LARGE)


def test_a_client_that_takes_a_little_now_and_then_is_given_up_too(
    pair: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outgoing, "WRITE_SECONDS", 0.05)
    ours, theirs = pair
    is_given_up = threading.Event()

    def take_a_little() -> None:
        while not is_given_up.wait(0.01):
            theirs.recv(64)

    reader = threading.Thread(target=take_a_little)
    reader.start()
    with pytest.raises(TimeoutError):
        Outgoing(ours).sendall(LARGE)
    is_given_up.set()
    reader.join(30)
