"""The captioner of a web worker: it asks the engine process, and imports no torch."""

import logging
import socket
import threading
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from flaskapp.captioner import wire
from flaskapp.captioner.generation import Caption, Generation, GenerationSettings
from flaskapp.captioner.loader import LOADING
from flaskapp.errors import CaptionerUnavailable, ClientLeft, DeadlineExceeded, EngineLost, ModelUnavailable
from flaskapp.trace import Trace

log = logging.getLogger(__name__)

LOOK = 0.5  # seconds between two looks whether a client has left
FRESH = 1.0  # seconds for which the engine's status is believed
PATIENCE = 1.0  # seconds that it may take to tell
IDLE = 30.0  # seconds that it may take to read a part of an image
GRACE = 5.0  # seconds after a deadline in which the engine may say so itself
RETRY_AFTER = 5  # seconds


@dataclass(frozen=True)
class Status:
    """What the engine process says of its model, as `Captioner`'s properties of these names."""

    problem: str | None = LOADING
    name: str = "none"
    version: str | None = None
    note: str | None = None
    input_side: int | None = None
    decoder: str | None = None
    decoder_reason: str | None = None
    takes_prompt: bool | None = None
    defaults: Generation | None = None


class EngineClient:
    """Has the interface of `Captioner`, and a connection for each request. `address` is the engine's Unix socket."""

    def __init__(self, address: str, deadline: float) -> None:
        self._address, self._deadline = address, deadline
        self._lock = threading.Lock()
        self._status = Status()
        self._asked = -FRESH  # on the monotonic clock

    def describe(
        self,
        images: Collection[np.ndarray],
        settings: GenerationSettings,
        has_left: Callable[[], bool] = lambda: False,
        *,
        deadline: float | None = None,
        trace: Trace | None = None,
    ) -> list[list[Caption]]:
        """As `Captioner.describe`. Raises EngineLost when the engine process ends meanwhile."""
        deadline = self._deadline if deadline is None else deadline
        trace = trace or Trace()
        question = {
            "do": "describe",
            "images": len(images),
            "settings": wire.encode_settings(settings),
            "deadline": deadline,
        }
        until = time.monotonic() + deadline + GRACE
        with self._asking(question) as connection:
            answer = _answer(connection, until, has_left)
            if "go" in answer:
                with trace.timing("decode"):
                    _send(connection, images)
                answer = _answer(connection, until, has_left)
        self._note(answer["model"])
        decode = trace.seconds.get("decode")
        trace.seconds |= answer["seconds"] | ({"decode": decode} if decode is not None else {})
        trace.batch_size = answer["batch_size"]
        return wire.decode_captions(answer["captions"])

    def caption(
        self,
        images: Collection[np.ndarray],
        settings: GenerationSettings,
        has_left: Callable[[], bool] = lambda: False,
        *,
        deadline: float | None = None,
        trace: Trace | None = None,
    ) -> list[list[str]]:
        """The texts of `describe`."""
        described = self.describe(images, settings, has_left, deadline=deadline, trace=trace)
        return [[caption.text for caption in captions] for captions in described]

    def resolve(self, settings: GenerationSettings) -> Generation:
        """As `Captioner.resolve`."""
        with self._asking({"do": "resolve", "settings": wire.encode_settings(settings)}) as connection:
            answer = _answer(connection, time.monotonic() + self._deadline + GRACE)
        generation = wire.decode_generation(answer["generation"])
        assert generation is not None
        return generation

    @property
    def problem(self) -> str | None:
        """As `Captioner.problem`. Where the engine process does not answer within moments, that is the problem."""
        return self._current().problem

    @property
    def name(self) -> str:
        return self._current().name

    @property
    def version(self) -> str | None:
        return self._current().version

    @property
    def note(self) -> str | None:
        return self._current().note

    @property
    def input_side(self) -> int | None:
        return self._current().input_side

    @property
    def decoder(self) -> str | None:
        return self._current().decoder

    @property
    def decoder_reason(self) -> str | None:
        return self._current().decoder_reason

    @property
    def takes_prompt(self) -> bool | None:
        return self._current().takes_prompt

    @property
    def defaults(self) -> Generation | None:
        return self._current().defaults

    def load_in_background(self) -> None:
        """The engine process has begun to."""

    def check_device(self) -> None:
        """The engine process has checked it."""

    def close(self) -> None:
        """Nothing is kept open."""

    def _current(self) -> Status:
        """The status, asked for again when it is old. Who asks at the same moment gets what is known."""
        if time.monotonic() - self._asked >= FRESH and self._lock.acquire(blocking=False):
            try:
                with self._asking({"do": "status"}, PATIENCE) as connection:
                    self._note(_answer(connection, time.monotonic() + PATIENCE))
            except (CaptionerUnavailable, DeadlineExceeded):
                self._status, self._asked = replace(self._status, problem=LOADING), time.monotonic()
            finally:
                self._lock.release()
        return self._status

    def _note(self, answer: wire.Message) -> None:
        self._status = Status(**{**answer, "defaults": wire.decode_generation(answer["defaults"])})
        self._asked = time.monotonic()

    @contextmanager
    def _asking(self, question: wire.Message, patience: float | None = None) -> Iterator[socket.socket]:
        """A connection on which the question was sent.

        Raises ModelUnavailable where none can be made, EngineLost where it breaks.
        """
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            try:
                connection.settimeout(patience or self._deadline)
                connection.connect(self._address)
                wire.send(connection, question)
            except OSError as error:
                raise ModelUnavailable(LOADING, RETRY_AFTER) from error
            try:
                yield connection
            except (OSError, wire.Closed) as error:
                raise EngineLost("the captioner stopped; it will be back") from error


def _send(connection: socket.socket, images: Collection[np.ndarray]) -> None:
    """Each is made when the one before it was sent. Stops where the engine has said what is wrong with one."""
    connection.settimeout(IDLE)
    for image in images:
        with suppress(BrokenPipeError, ConnectionResetError):
            wire.send_image(connection, image)
            continue
        return


def _answer(connection: socket.socket, until: float, has_left: Callable[[], bool] = lambda: False) -> dict[str, Any]:
    """The engine's next message. Raises the error that it says, DeadlineExceeded, or ClientLeft as `has_left` says."""
    while True:
        left = until - time.monotonic()
        if left <= 0:
            raise DeadlineExceeded("the captions were not ready in time")
        connection.settimeout(min(LOOK, left))
        try:
            connection.recv(1, socket.MSG_PEEK)
            break
        except TimeoutError:
            if has_left():
                raise ClientLeft("the client disconnected") from None
    connection.settimeout(GRACE)
    answer, _ = wire.receive(connection)
    if "error" in answer:
        raise wire.decode_error(answer)
    return answer
