"""Buffering of request bodies, without a server. `test_worker` tests it with one."""

import io
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from gunicorn.http.errors import InvalidChunkSize
from werkzeug.exceptions import BadRequest, ClientDisconnected, HTTPException, RequestTimeout

from flaskapp.errors import TooBusy
from flaskapp.serving.bodies import SMALL_BODY, Bodies


class Broken(io.BytesIO):
    """A stream that raises an error when it is read."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self._error = error

    def read(self, size: int | None = -1, /) -> bytes:
        raise self._error


@pytest.fixture
def sock() -> Iterator[socket.socket]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours


def environ(sock: socket.socket, stream: io.BytesIO, length: int | None) -> dict[str, Any]:
    size = {"HTTP_TRANSFER_ENCODING": "chunked"} if length is None else {"CONTENT_LENGTH": str(length)}
    return {"gunicorn.socket": sock, "wsgi.input": stream, **size}


def reading(received: list[bytes]) -> Bodies:
    """Return an application that reads a body."""

    def app(environ: dict[str, Any], _: Any) -> list[bytes]:
        received.append(environ["wsgi.input"].read())
        return [b"answer"]

    return Bodies(app, max_bytes=2 * SMALL_BODY)


def answer(app: Bodies, environ: dict[str, Any]) -> bytes:
    answered = app(environ, lambda *_: lambda _: None)
    data = b"".join(answered)
    answered.close()  # type: ignore[attr-defined]
    return data


@pytest.mark.parametrize("length", [100_000, None], ids=["a length", "chunks"])
def test_a_whole_body_is_passed_on(sock: socket.socket, length: int | None) -> None:
    received: list[bytes] = []
    assert answer(reading(received), environ(sock, io.BytesIO(b"x" * 100_000), length)) == b"answer"
    assert received == [b"x" * 100_000]


@pytest.mark.parametrize(
    ("stream", "error"),
    [
        (io.BytesIO(b"x" * 10), ClientDisconnected),
        (Broken(TimeoutError()), RequestTimeout),
        (Broken(InvalidChunkSize(b"z")), BadRequest),
        (Broken(ConnectionResetError()), ClientDisconnected),
    ],
    ids=["one that ends too early", "one that falls silent", "broken chunks", "a client that leaves"],
)
def test_an_incomplete_body_is_a_client_error(
    sock: socket.socket, stream: io.BytesIO, error: type[HTTPException]
) -> None:
    with pytest.raises(error) as raised:
        answer(reading([]), environ(sock, stream, 100))
    assert raised.type is error


def test_large_bodies_have_a_limit_together_and_small_ones_are_always_accepted(sock: socket.socket) -> None:
    held: list[Any] = []
    app = Bodies(lambda environ, _: [environ["wsgi.input"].read()], max_bytes=2 * SMALL_BODY)
    large = 2 * SMALL_BODY
    held.append(app(environ(sock, io.BytesIO(bytes(large)), large), lambda *_: lambda _: None))
    with pytest.raises(TooBusy) as refused:
        answer(app, environ(sock, io.BytesIO(bytes(large)), large))
    assert refused.value.retry_after
    assert answer(app, environ(sock, io.BytesIO(bytes(SMALL_BODY)), SMALL_BODY)) == bytes(SMALL_BODY)
    held.pop().close()
    assert answer(app, environ(sock, io.BytesIO(bytes(large)), large)) == bytes(large)


def test_an_unread_body_is_drained_so_that_the_answer_can_be_read(sock: socket.socket) -> None:
    stream = io.BytesIO(bytes(1_000_000))
    assert answer(Bodies(lambda *_: [b"answer"], max_bytes=0), environ(sock, stream, 1_000_000)) == b"answer"
    assert stream.tell() == 1_000_000


def test_requests_of_other_servers_are_not_buffered() -> None:
    stream = io.BytesIO(b"text")
    assert answer_of_another(stream) == b"text"


def answer_of_another(stream: io.BytesIO) -> bytes:
    app = Bodies(lambda environ, _: [environ["wsgi.input"].read()], max_bytes=0)
    return b"".join(app({"wsgi.input": stream, "CONTENT_LENGTH": "100"}, lambda *_: lambda _: None))
