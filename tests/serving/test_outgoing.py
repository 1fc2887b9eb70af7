"""Answers, by a pair of sockets: the other end takes them, or does not."""

import io
import socket
import threading
import time
from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from flaskapp.serving import outgoing
from flaskapp.serving.outgoing import Outgoing

LARGE = bytes(range(256)) * 2**14  # 4 MiB, more than the buffers between two sockets hold


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


@pytest.mark.parametrize("way", ["sendall", "sendfile"])
def test_all_of_an_answer_arrives(pair: tuple[socket.socket, socket.socket], way: str) -> None:
    ours, theirs = pair
    arrived: list[bytes] = []
    reader = threading.Thread(target=lambda: arrived.extend(iter(lambda: theirs.recv(2**16), b"")))
    reader.start()
    answer = Outgoing(ours)
    if way == "sendall":
        answer.sendall(LARGE)
    else:
        assert answer.sendfile(io.BytesIO(b"head" + LARGE), 4) == len(LARGE)
    ours.shutdown(socket.SHUT_WR)
    reader.join(30)
    assert b"".join(arrived) == LARGE


def test_the_time_that_an_answer_took_to_be_made_is_not_the_clients(
    pair: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = Outgoing(pair[0])
    an_hour_later = time.monotonic() + 3600
    monkeypatch.setattr(outgoing, "time", SimpleNamespace(monotonic=lambda: an_hour_later))
    answer.sendall(b"a caption")
    assert pair[0].gettimeout() == outgoing.WRITE_SECONDS


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
