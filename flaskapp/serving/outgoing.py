"""What gunicorn writes an answer to, in place of the socket: a client that takes it too slowly is given up."""

import socket
import time
from typing import Any, BinaryIO

from flaskapp.serving.connection import SLOWEST

WRITE_SECONDS = 10.0  # that nothing of an answer is taken
PIECE = 2**16  # bytes


class Outgoing:
    """Raises TimeoutError, an OSError, where a thread would wait for longer than the bytes are worth."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._patience = WRITE_SECONDS  # that the client may still let us wait; what it takes earns more

    def sendall(self, data: bytes) -> None:
        for start in range(0, len(data), PIECE):
            piece = data[start : start + PIECE]
            began = time.monotonic()
            self._socket.settimeout(max(0.001, self._patience))
            self._socket.sendall(piece)
            left = self._patience - (time.monotonic() - began)
            self._patience = min(WRITE_SECONDS, left + len(piece) / SLOWEST)

    def sendfile(self, file: BinaryIO, offset: int = 0, count: int | None = None) -> int:
        file.seek(offset)
        data = file.read() if count is None else file.read(count)
        self.sendall(data)
        return len(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._socket, name)
