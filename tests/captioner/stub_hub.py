"""A stub of the hub on this machine, with configurable failures."""

import hashlib
import io
import os
import socket
import struct
import threading
from collections import defaultdict, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from flask import Flask, Response, jsonify, request, send_file
from werkzeug.serving import make_server

from flaskapp.captioner.checkpoints.hub import DEFAULT_MODEL, DEFAULT_REVISION

RESET = struct.pack("ii", 1, 0)  # SO_LINGER that makes a close a reset

WEIGHTS = (".bin", ".safetensors")


@dataclass
class Refusal:
    status: int
    retry_after: str | None = None


@dataclass
class StubHub:
    """Serves one folder as the default model, or as another model whose revision "main" is the same commit.

    Each kind of request (`info`, `tree`, `head`, `file`) takes the next of its `refusals`; `down` refuses all requests.
    """

    folder: Path
    model: str = DEFAULT_MODEL
    refusals: dict[str, deque[Refusal]] = field(default_factory=lambda: defaultdict(deque))
    down: Refusal | None = None
    cuts: int = 0  # next answers with weights to reset in the middle
    stalls: bool = False  # answers with weights stop in the middle, without closing
    asked: list[tuple[str, str]] = field(default_factory=list)  # kinds of requests, with the file or ""
    refuse_ranges: deque[Refusal] = field(default_factory=deque)  # for requests with a Range header
    ranges: list[str] = field(default_factory=list)  # the Range headers of file requests
    port: int = 0

    def __post_init__(self) -> None:
        self._heard = threading.Condition()
        self._closing = threading.Event()
        self._server = make_server("127.0.0.1", self.port, self._make_app(), threaded=True)
        self._server.daemon_threads = True  # type: ignore[attr-defined]
        self.port = self._server.port
        self.url = f"http://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    @property
    def paths(self) -> list[str]:
        """Return the requested files."""
        return [path for kind, path in self.asked if kind == "file"]

    def wait_for(self, kind: str, times: int = 1) -> None:
        """Wait for `times` requests of a kind."""
        self._wait(lambda: [each for each, _ in self.asked].count(kind) >= times)

    def wait_for_weights(self) -> None:
        """Wait until a download of weights has begun."""
        self._wait(lambda: any(path.endswith(WEIGHTS) for path in self.paths))

    def _wait(self, came: Callable[[], bool]) -> None:
        with self._heard:
            assert self._heard.wait_for(came, timeout=60), self.asked

    def refuse(self) -> None:
        """End stalled answers, and refuse all further requests."""
        self.down = Refusal(404)
        self._closing.set()

    def close(self) -> None:
        if self._thread.is_alive():
            self._closing.set()
            self._server.shutdown()
            self._thread.join()
            self._server.server_close()

    def _make_app(self) -> Flask:
        app = Flask("hub")

        @app.get(f"/api/models/{self.model}/revision/<revision>")
        def info(**_: str) -> Response:
            return self._refuse("info") or jsonify({"id": self.model, "sha": DEFAULT_REVISION, "siblings": []})

        @app.get(f"/api/models/{self.model}/tree/<revision>")
        def tree(**_: str) -> Response:
            return self._refuse("tree") or jsonify([self._entry(path) for path in sorted(self.folder.rglob("*"))])

        @app.get(f"/{self.model}/resolve/<revision>/<path:path>")
        def resolve(path: str, **_: str) -> Response:
            refusal = self._refuse("file" if request.method == "GET" else "head", path)
            if refusal is not None:
                return refusal
            data = io.BytesIO((self.folder / path).read_bytes())  # leaves no file open when a client disconnects
            answer = send_file(data, "application/octet-stream", conditional=True, etag=_hash(path))
            answer.headers["X-Repo-Commit"] = DEFAULT_REVISION
            return self._disturb(answer, path) if request.method == "GET" else answer

        return app

    def _entry(self, path: Path) -> dict[str, object]:
        name = path.relative_to(self.folder).as_posix()
        if path.is_dir():
            return {"type": "directory", "path": name, "oid": _hash(name)}
        return {"type": "file", "path": name, "size": path.stat().st_size, "oid": _hash(name)}

    def _refuse(self, kind: str, path: str = "") -> Response | None:
        with self._heard:
            self.asked.append((kind, path))
            waiting = self.refusals[kind]
            if "Range" in request.headers:
                self.ranges.append(request.headers["Range"])
                waiting = self.refuse_ranges
            self._heard.notify_all()
            refusal = self.down or (waiting.popleft() if waiting else None)
        if refusal is None:
            return None
        headers = {} if refusal.retry_after is None else {"Retry-After": refusal.retry_after}
        return Response("not now", refusal.status, headers)

    def _disturb(self, answer: Response, path: str) -> Response:
        """Reset or stall an answer with weights."""
        if path.endswith(WEIGHTS) and (self.cuts > 0 or self.stalls):
            answer.direct_passthrough = False
            answer.response = self._send_half(answer.get_data(), request.environ["werkzeug.socket"])
        return answer

    def _send_half(self, data: bytes, connection: socket.socket) -> Iterator[bytes]:
        yield data[: len(data) // 2]
        if self.cuts > 0:
            self.cuts -= 1
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            os.close(connection.detach())
            raise ConnectionResetError
        else:
            self._closing.wait(60)


def _hash(path: str) -> str:
    return hashlib.sha1(path.encode()).hexdigest()
