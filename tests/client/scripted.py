"""A server that answers each connection with the next answer of a script and records the requests."""

import json
import socket
import threading
import time
from dataclasses import dataclass, field
from types import TracebackType
from typing import NamedTuple, Self

DROP = b""  # close the connection without an answer


class Asked(NamedTuple):
    line: str
    body: bytes
    at: float  # seconds
    head: list[str]  # lines


def answer(status: int, payload: object, **headers: str) -> bytes:
    body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    lines = {"Content-Type": "application/json", "Content-Length": str(len(body)), "Connection": "close", **headers}
    head = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in lines.items())
    return f"HTTP/1.1 {status} Reason\r\n{head}\r\n".encode() + body


def busy(retry_after: str) -> bytes:
    payload = {"code": 503, "status": "Service Unavailable", "message": "too many images are waiting"}
    return answer(503, payload, Retry_After=retry_after)


@dataclass
class ScriptedServer:
    """The last answer of the script is repeated for later requests."""

    script: list[bytes]
    asked: list[Asked] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join(10)
        self._listener.close()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection, connection.makefile("rb") as stream:
                head = b"".join(iter(stream.readline, b"\r\n")).decode()
                lengths = [line for line in head.lower().splitlines() if line.startswith("content-length:")]
                body = stream.read(int(lengths[0].split()[1])) if lengths else b""
                lines = head.splitlines()
                self.asked.append(Asked(lines[0], body, time.monotonic(), lines))
                connection.sendall(self.script[min(len(self.asked), len(self.script)) - 1])
