"""What gunicorn writes an answer to, in place of the socket: a client that takes it too slowly is given up."""

import socket
import time
from contextlib import suppress
from typing import Any, BinaryIO

from flaskapp.serving.connection import SLOWEST

WRITE_SECONDS = 10.0  # that nothing of an answer is taken
PIECE = 2**16  # bytes
BEGINNING = b"HTTP/1."  # of every answer


class Outgoing:
    """Raises TimeoutError, an OSError, where a thread would wait for longer than the bytes are worth.

    The head, which gunicorn sends first, is held back for the beginning of the body, so that they are one packet.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._head: bytes | None = None
        self._has_begun = False
        self._patience = WRITE_SECONDS  # that the client may still let us wait; what it takes earns more

    def begin(self) -> None:
        """Send the first bytes of the answer before the rest is known."""
        if not self._has_begun:
            self._has_begun = True
            with suppress(OSError):
                self._socket.send(BEGINNING, socket.MSG_DONTWAIT)

    def sendall(self, data: bytes) -> None:
        if self._head is None and self._has_begun:
            data = data.removeprefix(BEGINNING)
        if self._head is None and len(data) <= PIECE:
            self._head = data
        elif self._head and len(data) <= PIECE:
            data, self._head = self._head + data, b""
            self._send(data)
        else:
            self.flush()
            self._send(data)

    def flush(self) -> None:
        """Send a head that has waited in vain for a body."""
        head, self._head = self._head, b""
        if head:
            self._send(head)

    def _send(self, data: bytes) -> None:
        """At once what finds room: to ask for room first would cost small answers as much as to send them."""
        sent = 0
        with suppress(BlockingIOError):
            sent = self._socket.send(data, socket.MSG_DONTWAIT)
        if sent < len(data):
            self._send_patiently(memoryview(data)[sent:])

    def _send_patiently(self, data: memoryview) -> None:
        for start in range(0, len(data), PIECE):
            piece = data[start : start + PIECE]
            began = time.monotonic()
            self._socket.settimeout(max(0.001, self._patience))
            self._socket.sendall(piece)
            left = self._patience - (time.monotonic() - began)
            self._patience = min(WRITE_SECONDS, left + len(piece) / SLOWEST)
        self._socket.setblocking(False)

    def sendfile(self, file: BinaryIO, offset: int = 0, count: int | None = None) -> int:
        file.seek(offset)
        data = file.read() if count is None else file.read(count)
        self.sendall(data)
        return len(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._socket, name)
