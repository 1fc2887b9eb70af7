"""One engine process, as another process sees it: its Unix socket, its status, and the requests that it has in hand."""

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
FRESH = 1.0  # seconds for which the engine's status is believed
PATIENCE = 1.0  # seconds that it may take to tell
IDLE = 30.0  # seconds that it may take to read a part of an image
GRACE = 5.0  # seconds after a deadline in which the engine may say so itself
RETRY_AFTER = 5  # seconds


@dataclass(frozen=True)
class Status:
    """What an engine process says of its model, as `Captioner`'s properties of these names."""

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
    """`address` is its Unix socket. Each request has a connection of its own."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._lock = threading.Lock()
        self._refreshing = threading.Lock()
        self._status = Status()
        self._asked = -FRESH  # on the monotonic clock
        self._is_silent = False  # the last time that it was asked
        self._in_flight = 0

    @property
    def in_flight(self) -> int:
        """Requests of this process that the engine has not answered yet."""
        return self._in_flight

    @property
    def status(self) -> Status:
        """Refreshed after FRESH seconds, by one caller at a time; meanwhile the others get the previous one.

        An engine that does not tell in time twice in a row is taken for lost: once may be a processor that is busy.
        """
        if time.monotonic() - self._asked >= FRESH and self._refreshing.acquire(blocking=False):
            try:
                with self.asking({"do": "status"}, PATIENCE) as connection:
                    self.update(receive_answer(connection, time.monotonic() + PATIENCE))
            except DeadlineExceeded:
                if self._is_silent:
                    self._note_loss()
                self._asked, self._is_silent = time.monotonic(), True
            except CaptionerUnavailable:
                self._note_loss()
            finally:
                self._refreshing.release()
        return self._status

    def update(self, status: wire.Message) -> None:
        """Take the status that came with an answer."""
        self._status = Status(**{**status, "defaults": wire.decode_generation(status["defaults"])})
        self._asked, self._is_silent = time.monotonic(), False

    def _note_loss(self) -> None:
        self._status, self._asked = replace(self._status, problem=LOADING), time.monotonic()

    @contextmanager
    def asking(self, question: wire.Message, patience: float) -> Iterator[socket.socket]:
        """A connection on which the question was sent.

        Raises ModelUnavailable where none can be made, EngineLost where it breaks.
        """
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            try:
                connection.settimeout(patience)
                connection.connect(self._address)
                wire.send(connection, question)
            except OSError as error:
                self._note_loss()
                raise ModelUnavailable(LOADING, RETRY_AFTER) from error
            try:
                yield connection
            except (OSError, wire.Closed) as error:
                self._note_loss()
                raise EngineLost("the captioner stopped; it will be back") from error

    @contextmanager
    def counted(self) -> Iterator[None]:
        """Count the block in `in_flight`."""
        with self._lock:
            self._in_flight += 1
        try:
            yield
        finally:
            with self._lock:
                self._in_flight -= 1


def send_images(connection: socket.socket, images: Collection[np.ndarray]) -> None:
    """Send images. Each is made when the one before it was sent.

    Stops where the engine has said what is wrong with one.
    """
    connection.settimeout(IDLE)
    for image in images:
        with suppress(BrokenPipeError, ConnectionResetError):
            wire.send_image(connection, image)
            continue
        return


def receive_answer(
    connection: socket.socket, until: float, has_left: Callable[[], bool] = lambda: False
) -> dict[str, Any]:
    """The engine's next message. Raises the error that it says, DeadlineExceeded, or ClientLeft as `has_left` says."""
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
