"""One client's connection: what it has sent of a request, and until when it may take for the rest."""

import json
import os
import socket
import time
from contextlib import suppress
from http import HTTPStatus
from typing import Any

from flaskapp.serving.framing import Incoming

READ_SECONDS = 9.0  # for a request, from its first byte: it is over by the tenth
SLOWEST = 2**16  # bytes a second: a body that comes faster than this has the time that it needs
WRITE_SECONDS = 10.0  # without any progress
LINGER_SECONDS = 10.0  # that the rest of a refused body is thrown away, so that its sender gets to read the refusal
PARTING_SECONDS = 1.0  # after the last answer, for the client to close first
READ_AT_ONCE = 2**18  # bytes


class Received:
    """What gunicorn's parser reads from, in place of a socket: a request that is complete."""

    def __init__(self, data: memoryview) -> None:
        self._left = data

    def recv(self, size: int) -> bytes:
        part, self._left = self._left[:size], self._left[size:]
        return bytes(part)


class Connection:
    """`deadline` is when it is closed if nothing more has come: no thread is at it then. None while it is answered."""

    def __init__(self, sock: socket.socket, client: Any, server: Any, max_body: int) -> None:
        sock.settimeout(WRITE_SECONDS)
        self.sock = sock
        self.descriptor = sock.fileno()
        self.client = client
        self.server = server
        self.incoming = Incoming(max_body)
        self.is_lingering = False  # answered and closed by us, but the client still sends
        self.deadline: float | None = time.monotonic() + READ_SECONDS
        self._began: float | None = None  # to send the request
        self._is_continued = False

    @property
    def is_complete(self) -> bool:
        """Whether there is a request to answer."""
        return self.incoming.end is not None and not self.is_lingering

    def receive(self) -> bool:
        """Take what has come, without waiting. False if nothing will. Raises Refused."""
        try:
            data = os.read(self.descriptor, READ_AT_ONCE)
        except BlockingIOError:
            return True
        except OSError:
            return False
        if self.is_lingering or not data:
            return bool(data)
        self.incoming.feed(data)
        if self._began is None:
            self._began = time.monotonic()
        self.deadline = None if self.is_complete else self._began + READ_SECONDS + len(self.incoming.data) / SLOWEST
        if self.incoming.expects_continue and not self.is_complete and not self._is_continued:
            self._is_continued = True
            self._send(b"HTTP/1.1 100 Continue\r\n\r\n")
        return True

    def received(self) -> Received:
        """The complete request, for gunicorn's parser."""
        return Received(memoryview(self.incoming.data)[: self.incoming.end])

    def go_on(self, seconds: float) -> None:
        """After an answer: the next request may begin within so many seconds, if it has not."""
        self.incoming = self.incoming.following()
        self._is_continued = False
        now = time.monotonic()
        self._began = now if self.incoming.data else None
        self.deadline = None if self.is_complete else now + (READ_SECONDS if self.incoming.data else seconds)

    def linger(self) -> None:
        """Say that nothing more will be sent. What still comes is thrown away, or the client would see a reset."""
        is_whole = self.is_complete and not self.incoming.is_cut
        self.is_lingering = True
        self.incoming = Incoming(0)
        self.deadline = time.monotonic() + (PARTING_SECONDS if is_whole else LINGER_SECONDS)
        with suppress(OSError):
            self.sock.shutdown(socket.SHUT_WR)

    def refuse(self, status: HTTPStatus) -> None:
        """Answer before any parser or application is asked, in the shape of their errors."""
        body = json.dumps({"code": status, "status": status.phrase})
        retry = "Retry-After: 5\r\n" if status == HTTPStatus.SERVICE_UNAVAILABLE else ""
        head = f"HTTP/1.1 {status} {status.phrase}\r\nConnection: close\r\nContent-Type: application/json\r\n"
        self._send(f"{head}{retry}Content-Length: {len(body)}\r\n\r\n{body}".encode())
        self.linger()

    def _send(self, data: bytes) -> None:
        """A few bytes, which find room in the socket's buffer, or the client reads nothing at all."""
        with suppress(OSError):
            self.sock.send(data, socket.MSG_DONTWAIT)
