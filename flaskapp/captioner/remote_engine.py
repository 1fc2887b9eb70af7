"""The client side of one engine process: its Unix socket, its status and its requests in flight."""

import math
import socket
import threading
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from flaskapp.captioner import wire
from flaskapp.captioner.generation import Generation
from flaskapp.captioner.loader import LOADING
from flaskapp.errors import CaptionerUnavailable, ClientLeft, DeadlineExceeded, EngineLost, ModelUnavailable

POLL_INTERVAL = 0.5  # seconds between two checks for a disconnected client
STATUS_MAX_AGE = 1.0  # seconds before the engine's status is requested again
STATUS_TIMEOUT = 1.0  # seconds for the engine to send its status
SEND_TIMEOUT = 30.0  # seconds for the engine to read a part of an image
GRACE = 5.0  # seconds after a deadline for the engine to report it
RETRY_AFTER = 5  # seconds
STOPPED = "the engine process stopped: the server's log says why"  # a problem of an engine


@dataclass(frozen=True)
class Status:
    """The status of an engine process: `Captioner`'s properties of these names."""

    problem: str | None = LOADING
    name: str = "none"
    version: str | None = None
    note: str | None = None
    input_side: int | None = None
    decoder: str | None = None
    decoder_reason: str | None = None
    precision: str | None = None
    precision_reason: str | None = None
    takes_prompt: bool | None = None
    defaults: Generation | None = None


class RemoteEngine:
    """`address` is the engine's Unix socket. Each request opens a connection."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._lock = threading.Lock()
        self._refresh_lock = threading.Lock()
        self._status = Status()
        self._refreshed = -math.inf  # monotonic time of the last refresh
        self._has_timed_out = False  # whether the last refresh did
        self._in_flight = 0

    @property
    def in_flight(self) -> int:
        """Requests of this process that the engine has not answered yet."""
        return self._in_flight

    @property
    def status(self) -> Status:
        """The status, refreshed after STATUS_MAX_AGE by one caller at a time.

        Meanwhile others get the previous one. If there is none yet, they wait.
        """
        is_first = self._refreshed == -math.inf
        if self._is_old and self._refresh_lock.acquire(blocking=is_first):
            try:
                if self._is_old:  # not refreshed by another caller meanwhile
                    self._refresh()
            finally:
                self._refresh_lock.release()
        return self._status

    @property
    def _is_old(self) -> bool:
        return time.monotonic() - self._refreshed >= STATUS_MAX_AGE

    def _refresh(self) -> None:
        """Ask for the status. The engine counts as lost after two timeouts in a row: one may come from a busy CPU."""
        try:
            with self.send_request({"do": "status"}, STATUS_TIMEOUT) as connection:
                self.update(receive_answer(connection, time.monotonic() + STATUS_TIMEOUT))
        except DeadlineExceeded:
            if self._has_timed_out:
                self._mark_lost(LOADING)
            self._refreshed, self._has_timed_out = time.monotonic(), True
        except CaptionerUnavailable as error:
            self._mark_lost(STOPPED if isinstance(error, EngineLost) else str(error))

    def update(self, status: wire.Message) -> None:
        """Store the status from an answer."""
        self._status = Status(**{**status, "defaults": wire.decode_generation(status["defaults"])})
        self._refreshed, self._has_timed_out = time.monotonic(), False

    def _mark_lost(self, problem: str) -> None:
        self._status, self._refreshed = replace(self._status, problem=problem), time.monotonic()

    @contextmanager
    def send_request(self, question: wire.Message, timeout: float) -> Iterator[socket.socket]:
        """Connect and send a request. Yield the connection.

        Raises ModelUnavailable if the engine cannot be reached, EngineLost if the connection breaks.
        """
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            try:
                connection.settimeout(timeout)
                connection.connect(self._address)
                wire.send(connection, question)
            except OSError as error:
                problem = STOPPED if isinstance(error, BrokenPipeError | ConnectionResetError) else LOADING
                self._mark_lost(problem)
                raise ModelUnavailable(problem, RETRY_AFTER) from error
            try:
                yield connection
            except (OSError, wire.Closed) as error:
                self._mark_lost(STOPPED)
                raise EngineLost("the captioner stopped; it will be back") from error

    @contextmanager
    def in_flight_request(self) -> Iterator[None]:
        """Count a request in `in_flight` during the block."""
        with self._lock:
            self._in_flight += 1
        try:
            yield
        finally:
            with self._lock:
                self._in_flight -= 1


def send_images(connection: socket.socket, images: Collection[np.ndarray]) -> None:
    """Send images. Each is decoded after the previous one was sent.

    Stop if the engine closes the connection: it has sent an error, which `receive_answer` raises.
    """
    connection.settimeout(SEND_TIMEOUT)
    for image in images:
        with suppress(BrokenPipeError, ConnectionResetError):
            wire.send_image(connection, image)
            continue
        return


def receive_answer(
    connection: socket.socket, until: float, has_left: Callable[[], bool] = lambda: False
) -> dict[str, Any]:
    """Return the engine's next message. Raise the error in it, DeadlineExceeded, or ClientLeft if `has_left`."""
    while True:
        left = until - time.monotonic()
        if left <= 0:
            raise DeadlineExceeded("the captions were not ready in time")
        connection.settimeout(min(POLL_INTERVAL, left))
        try:
            connection.recv(1, socket.MSG_PEEK)
            break
        except TimeoutError:
            if has_left():
                raise ClientLeft("the client disconnected") from None
    connection.settimeout(GRACE)
    message, _ = wire.receive(connection)
    if "error" in message:
        raise wire.decode_error(message)
    return message
