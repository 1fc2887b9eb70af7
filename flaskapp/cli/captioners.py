"""What captions the files of a command: the model in this process, or a server."""

import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeVar

import click
import numpy as np

from flaskapp.captioner import GenerationSettings, captioner
from flaskapp.cli.generation_options import option
from flaskapp.cli.terminal import printable
from flaskapp.client import Client, ClientError, LoginRefused, RequestRefused, ServerUnreachable
from flaskapp.errors import CaptionerUnavailable, InvalidGeneration, InvalidSetting, UnreadableImage
from flaskapp.images import EncodedImage
from flaskapp.machine import usable_cores
from flaskapp.sized_iterable import SizedIterable

REQUESTS_IN_FLIGHT = 16
PATIENCE = 120.0  # seconds in which the hub is asked again for a model that it does not offer

Answer = TypeVar("Answer")


class Captioned(NamedTuple):
    model: str
    captions: list[str]  # the best first
    scores: list[dict[str, Any]] | None = None  # one for each caption, as a server gives them, if they were asked for


class FileCaptioner(Protocol):
    """Takes `in_flight` files at once. Its `identity` decides the captions, with the file: model and settings."""

    in_flight: int
    identity: Mapping[str, Any]
    warning: str | None  # that the embedded model substitutes for the default one

    def caption(self, path: Path) -> Captioned:
        """Raises OSError, FlaskappError or ClientError for this file, ClickException if no other would fare better."""

    def stop(self) -> None:
        """Let go of what is asked for."""


class LocalCaptioner:
    """The model of this process. Files that threads ask for at the same time become its batches."""

    def __init__(self, config: Mapping[str, Any], settings: GenerationSettings) -> None:
        """Loads the model. Raises ClickException if there is none, or if it cannot do the settings."""
        try:
            captioner.check_device()
            captioner.load(patience=PATIENCE)
            generation = captioner.resolve(settings)
        except (InvalidSetting, CaptionerUnavailable) as error:
            raise _hopeless(error) from error
        except InvalidGeneration as error:
            raise click.ClickException(f"{option(error.field)}: {error}") from error
        self.in_flight = 2 * config["CAPTIONER_MAX_BATCH"]  # one batch runs, the next one is decoded
        self.identity: Mapping[str, Any] = {
            "model": captioner.name,
            "version": captioner.version,
            "precision": captioner.precision,
            "settings": generation.shown() | {"seed": settings.seed, "scores": settings.scores},
        }
        self.warning = captioner.note
        self._settings = settings
        self._max_bytes = config["MAX_UPLOAD_MB"] * 2**20
        self._max_megapixels = config["MAX_MEGAPIXELS"]
        self._decoding = threading.Semaphore(usable_cores())
        self._stopped = threading.Event()

    def caption(self, path: Path) -> Captioned:
        pixels = SizedIterable(1, lambda: self._decode(path))
        (captions,) = captioner.describe(pixels, self._settings, self._stopped.is_set, deadline=float("inf"))
        scores = [{"log_probability": each.log_probability, "tokens": each.tokens} for each in captions]
        texts = [each.text for each in captions]
        return Captioned(captioner.name, texts, scores if self._settings.scores else None)

    def _decode(self, path: Path) -> Iterator[np.ndarray]:
        """The pixels of a file. Only those of a few files are in memory at once."""
        with (
            self._decoding,
            EncodedImage(self._read(path), self._max_megapixels).decoded(captioner.input_side, patient=True) as picture,
        ):
            yield picture.flatten()

    def _read(self, path: Path) -> bytes:
        with path.open("rb") as file:
            data = file.read(self._max_bytes + 1)
        if len(data) > self._max_bytes:
            raise UnreadableImage(f"the file has more than {self._max_bytes // 2**20} MiB")
        return data

    def stop(self) -> None:
        self._stopped.set()

    def close(self) -> None:
        """End the model's thread: if the process ended while it computes, it would be aborted."""
        captioner.close()


class Remote:
    """A server, and what its errors mean to a command."""

    def __init__(self, client: Client, config: Mapping[str, Any]) -> None:
        """Raises ClickException if there is no such server, or if it is not ready."""
        self.client = client
        self.config: Any = config
        model = self._ask(client.ready)
        self.model = model.name
        self.warning = None if model.note == "OK" else model.note
        settings = {**(model.defaults or {}), **config}
        self.identity: Mapping[str, Any] = {"server": client.url, "model": model.name, "settings": settings}

    def request(self, question: Callable[[], Answer]) -> Answer:
        """Ask something about files. Raises ClientError for these, ClickException if no other would fare better."""
        try:
            return question()
        except LoginRefused as error:
            raise _hopeless(error) from error
        except ServerUnreachable:
            self._ask(self.client.live)  # if it is gone, it is for all files
            raise
        except RequestRefused as error:
            if "config" in (error.errors.get("multipart") or ()):
                raise _hopeless(error) from error
            raise

    def _ask(self, question: Callable[[], Answer]) -> Answer:
        try:
            return question()
        except ClientError as error:
            raise _hopeless(error) from error


class RemoteCaptioner(Remote):
    """Requests that are under way at the same time become the server's batches."""

    in_flight = REQUESTS_IN_FLIGHT

    def caption(self, path: Path) -> Captioned:
        answer = self.request(lambda: self.client.caption(path, **self.config))
        (result,) = answer.results
        scores = None if result.scores is None else [score._asdict() for score in result.scores]
        return Captioned(answer.model, result.captions, scores)

    def stop(self) -> None:
        """What was sent is waited for: its captions are kept."""


def _hopeless(error: Exception) -> click.ClickException:
    """For what is wrong with the model or the server, not with a file. A server may say anything."""
    return click.ClickException(printable(error))
