"""One client's connection: what it has sent of a request, and until when it may take for the rest."""

import json
import os
import socket
import time
from contextlib import suppress
from http import HTTPStatus
from typing import Any

from flaskapp.serving.framing import Incoming

READ_SECONDS = 9.0  # that a request may take, or fall silent for: it is over by the tenth
SLOWEST = 2**16  # bytes a second: an answer that is taken faster than this has the time that it needs
SLOWEST_REQUEST = 2**10  # bytes a second, likewise: no thread waits for a request
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
        sock.setblocking(False)
        self.sock = sock
        self.descriptor = sock.fileno()
        self.client = client
        self.server = server
        self.incoming = Incoming(max_body)
        self.is_lingering = False  # answered and closed by us, but the client still sends
        self.deadline: float | None = time.monotonic() + READ_SECONDS
        self._is_continued = False
        self._lingers_for = 0.0

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
        self._extend_deadline(len(data))
        self.incoming.feed(data)
        self._say_continue()
        if self.is_complete:
            self.deadline = None
        return True

    def _extend_deadline(self, size: int) -> None:
        """By the time that so many bytes may take, and never beyond the time for silence."""
        now = time.monotonic()
        is_first = not self.incoming.data
        earned = now + READ_SECONDS if is_first or self.deadline is None else self.deadline + size / SLOWEST_REQUEST
        self.deadline = min(earned, now + READ_SECONDS)

    def _say_continue(self) -> None:
        """Once, to a client that waits for it before it sends the body."""
        if self.incoming.expects_continue and not self.is_complete and not self._is_continued:
            self._is_continued = True
            self._send(b"HTTP/1.1 100 Continue\r\n\r\n")

    def received(self) -> Received:
        """The complete request, for gunicorn's parser."""
        return Received(memoryview(self.incoming.data)[: self.incoming.end])

    def go_on(self) -> None:
        """After an answer: turn to the next request, of which some may have come. Raises Refused."""
        self._is_continued = False
        self.incoming = self.incoming.following()
        self._say_continue()

    def wait(self, seconds: float) -> None:
        """Set the deadline of what has come of the next request, or of its beginning."""
        if self.is_lingering:
            seconds = self._lingers_for
        self.deadline = time.monotonic() + (READ_SECONDS if self.incoming.data else seconds)

    def linger(self) -> None:
        """Say that nothing more will be sent. What still comes is thrown away, or the client would see a reset."""
        self._lingers_for = PARTING_SECONDS if self.is_complete and not self.incoming.is_cut else LINGER_SECONDS
        self.is_lingering = True
        self.incoming = Incoming(0)
        with suppress(OSError):
            self.sock.setblocking(False)  # gunicorn leaves a socket blocking to which it wrote an error
            self.sock.shutdown(socket.SHUT_WR)

    def refuse(self, status: HTTPStatus, request_id: str) -> None:
        """Answer before any parser or application is asked, in the shape of their errors."""
        body = json.dumps({"code": status, "status": status.phrase})
        retry = "Retry-After: 5\r\n" if status == HTTPStatus.SERVICE_UNAVAILABLE else ""
        head = f"HTTP/1.1 {status} {status.phrase}\r\nConnection: close\r\nContent-Type: application/json\r\n"
        head += f"X-Request-ID: {request_id}\r\n"
        self._send(f"{head}{retry}Content-Length: {len(body)}\r\n\r\n{body}".encode())
        self.linger()

    def _send(self, data: bytes) -> None:
        """A few bytes, if they find room in the socket's buffer; a client that reads nothing misses them.

        Not by the socket's own methods: they would wait, and nobody else would be read meanwhile.
        """
        with suppress(OSError):
            os.write(self.descriptor, data)
