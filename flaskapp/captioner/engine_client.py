"""The captioner of a web worker: sends requests to the engine processes. Imports no torch."""

import random
import socket
import time
from collections.abc import Callable, Collection, Sequence
from typing import Any

import numpy as np

from flaskapp.captioner import wire
from flaskapp.captioner.generation import Caption, Generation, GenerationSettings
from flaskapp.captioner.remote_engine import (
    GRACE,
    RETRY_AFTER,
    STOPPED,
    RemoteEngine,
    Status,
    receive_answer,
    send_images,
)
from flaskapp.errors import ClientLeft, EngineLost, FlaskappError, ModelUnavailable, TooBusy
from flaskapp.timings import Timings


class EngineClient:
    """Has the interface of `Captioner`.

    `addresses` are the Unix sockets of one or more engine processes with the same model. A request goes to the engine
    with the fewest requests of this process. If that engine rejects it, the request goes to the next one.
    """

    def __init__(self, addresses: Sequence[str], deadline: float) -> None:
        self._engines = [RemoteEngine(address) for address in addresses]
        self._deadline = deadline

    def describe(
        self,
        images: Collection[np.ndarray],
        settings: GenerationSettings,
        has_left: Callable[[], bool] = lambda: False,
        *,
        deadline: float | None = None,
        timings: Timings | None = None,
        on_text: Callable[[str], object] | None = None,
        digests: Sequence[str] = (),
    ) -> list[list[Caption]]:
        """See `Captioner.describe`. Raises EngineLost if the engine process ends after it has admitted the request."""
        deadline = self._deadline if deadline is None else deadline
        timings = timings or Timings()
        question = {
            "do": "describe",
            "images": len(images),
            "settings": wire.encode_settings(settings),
            "deadline": deadline,
            "stream": on_text is not None,
            "digests": list(digests),
        }
        message = self._ask(question, images, time.monotonic() + deadline + GRACE, has_left, timings, on_text)
        decode = timings.seconds.get("decode")
        timings.seconds |= message["seconds"] | ({"decode": decode} if decode is not None else {})
        timings.batch_size = message["batch_size"]
        return wire.decode_captions(message["captions"])

    def _ask(
        self,
        question: wire.Message,
        images: Collection[np.ndarray],
        until: float,
        has_left: Callable[[], bool],
        timings: Timings,
        on_text: Callable[[str], object] | None,
    ) -> wire.Message:
        """Send a request to one engine after the other until one admits it. Return its answer."""
        refusals: list[FlaskappError] = []
        for engine in self._by_load():
            is_admitted = False
            try:
                with engine.in_flight_request(), engine.send_request(question, self._deadline) as connection:
                    message = receive_answer(connection, until, has_left)
                    if "go" in message:
                        is_admitted = True
                        with timings.timing("decode"):
                            send_images(connection, images)
                        message = _receive_captions(connection, until, has_left, on_text)
            except (ModelUnavailable, TooBusy, EngineLost) as error:
                if is_admitted:
                    raise
                refusals.append(error)
            else:
                engine.update(message["model"])
                return message
        raise _reason(refusals)

    def caption(
        self,
        images: Collection[np.ndarray],
        settings: GenerationSettings,
        has_left: Callable[[], bool] = lambda: False,
        *,
        deadline: float | None = None,
        timings: Timings | None = None,
    ) -> list[list[str]]:
        """Return the texts of `describe`."""
        described = self.describe(images, settings, has_left, deadline=deadline, timings=timings)
        return [[caption.text for caption in captions] for captions in described]

    def resolve(self, settings: GenerationSettings) -> Generation:
        """See `Captioner.resolve`."""
        question = {"do": "resolve", "settings": wire.encode_settings(settings)}
        with self._by_load()[0].send_request(question, self._deadline) as connection:
            message = receive_answer(connection, time.monotonic() + self._deadline + GRACE)
        generation = wire.decode_generation(message["generation"])
        assert generation is not None
        return generation

    @property
    def problem(self) -> str | None:
        """See `Captioner.problem`. An engine process that does not answer in time counts as one without a model."""
        return self._status.problem

    @property
    def name(self) -> str:
        return self._status.name

    @property
    def version(self) -> str | None:
        return self._status.version

    @property
    def note(self) -> str | None:
        return self._status.note

    @property
    def input_side(self) -> int | None:
        return self._status.input_side

    @property
    def decoder(self) -> str | None:
        return self._status.decoder

    @property
    def decoder_reason(self) -> str | None:
        return self._status.decoder_reason

    @property
    def precision(self) -> str | None:
        return self._status.precision

    @property
    def precision_reason(self) -> str | None:
        return self._status.precision_reason

    @property
    def takes_prompt(self) -> bool | None:
        return self._status.takes_prompt

    @property
    def defaults(self) -> Generation | None:
        return self._status.defaults

    def load_in_background(self) -> None:
        """Do nothing: the engine processes load the model at their start."""

    def check_device(self) -> None:
        """Do nothing: the engine processes check it at their start."""

    def close(self) -> None:
        """Do nothing: no connection stays open."""

    @property
    def _status(self) -> Status:
        """The status of an engine with a model, if any has one."""
        return min((engine.status for engine in self._engines), key=lambda status: status.problem is not None)

    def _by_load(self) -> list[RemoteEngine]:
        """Sort engines: those with a model first, then by the number of this process's requests."""
        if len(self._engines) == 1:
            return self._engines
        return sorted(
            self._engines, key=lambda engine: (engine.status.problem is not None, engine.in_flight, random.random())
        )


def _reason(refusals: Sequence[FlaskappError]) -> FlaskappError:
    """Return the error for a request that all engines refused: that of a busy engine, if one is busy."""
    busy = next((error for error in refusals if isinstance(error, TooBusy)), None)
    if busy is None and isinstance(refusals[-1], EngineLost):  # it had not admitted the request
        return ModelUnavailable(STOPPED, RETRY_AFTER)
    return busy or refusals[-1]


def _receive_captions(
    connection: socket.socket,
    until: float,
    has_left: Callable[[], bool],
    on_text: Callable[[str], object] | None,
) -> dict[str, Any]:
    """Pass texts of unfinished captions to `on_text`. Return the final answer."""
    message = receive_answer(connection, until, has_left)
    while on_text is not None and "text" in message:
        on_text(message["text"])
        if has_left():  # `receive_answer` checks only while no message arrives
            raise ClientLeft("the client disconnected")
        message = receive_answer(connection, until, has_left)
    return message
