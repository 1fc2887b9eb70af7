"""Captioners of files: the model in this process, or a server."""

import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeVar

import click
import numpy as np

from flaskapp.captioner import GenerationSettings, captioner
from flaskapp.cli.generation_options import option_name
from flaskapp.cli.terminal import printable
from flaskapp.client import Client, ClientError, LoginRefused, RequestRefused, ServerUnreachable
from flaskapp.errors import CaptionerUnavailable, InvalidGeneration, InvalidSetting, UnreadableImage
from flaskapp.images import EncodedImage
from flaskapp.machine import usable_cores
from flaskapp.sized_iterable import SizedIterable

REQUESTS_IN_FLIGHT = 16
HUB_TIMEOUT = 120.0  # seconds of retries while the hub does not offer the model

Answer = TypeVar("Answer")


class Captioned(NamedTuple):
    model: str
    captions: list[str]  # the best first
    scores: list[dict[str, Any]] | None = None  # one per caption, as in the API; only if requested


class FileCaptioner(Protocol):
    """Captions up to `in_flight` files at once. `identity`: all that decides a file's captions, model and settings."""

    in_flight: int
    identity: Mapping[str, Any]
    warning: str | None  # the embedded model substitutes for the default one

    def caption(self, path: Path) -> Captioned:
        """Caption a file. Raises OSError, FlaskappError or ClientError for it, ClickException if all would fail."""

    def stop(self) -> None:
        """End the calls of `caption` in other threads."""


class LocalCaptioner:
    """The model in this process. Concurrent calls become batches."""

    def __init__(self, config: Mapping[str, Any], settings: GenerationSettings) -> None:
        """Load the model. Raises ClickException if there is none, or if it does not support the settings."""
        try:
            captioner.check_device()
            captioner.load(patience=HUB_TIMEOUT)
            generation = captioner.resolve(settings)
        except (InvalidSetting, CaptionerUnavailable) as error:
            raise _fatal(error) from error
        except InvalidGeneration as error:
            raise click.ClickException(f"{option_name(error.field)}: {error}") from error
        self.in_flight = 2 * config["CAPTIONER_MAX_BATCH"]  # one batch runs while the next one is decoded
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
        """Yield the pixels of a file. Limits the number of files that are decoded at once."""
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
        """Stop the model's thread, because a process that exits while it computes is aborted."""
        captioner.close()


class Remote:
    """A server. Decides which of its errors concern one file and which end the command."""

    def __init__(self, client: Client, config: Mapping[str, Any]) -> None:
        """Check the server. Raises ClickException if it cannot be reached or is not ready."""
        self.client = client
        self.config: Any = config
        model = self._ask(client.ready)
        self.model = model.name
        self.warning = None if model.note == "OK" else model.note
        settings = {**(model.defaults or {}), **config}
        self.identity: Mapping[str, Any] = {"server": client.url, "model": model.name, "settings": settings}

    def request(self, send: Callable[[], Answer]) -> Answer:
        """Send a request about files. Raises ClientError for these files, ClickException if all would fail."""
        try:
            return send()
        except LoginRefused as error:
            raise _fatal(error) from error
        except ServerUnreachable:
            self._ask(self.client.live)  # a server that is down fails all files
            raise
        except RequestRefused as error:
            if "config" in (error.errors.get("multipart") or ()):
                raise _fatal(error) from error
            raise

    def _ask(self, send: Callable[[], Answer]) -> Answer:
        try:
            return send()
        except ClientError as error:
            raise _fatal(error) from error


class RemoteCaptioner(Remote):
    """A server that gets a request per file. Concurrent requests become its batches."""

    in_flight = REQUESTS_IN_FLIGHT

    def caption(self, path: Path) -> Captioned:
        answer = self.request(lambda: self.client.caption(path, **self.config))
        (result,) = answer.results
        scores = None if result.scores is None else [score._asdict() for score in result.scores]
        return Captioned(answer.model, result.captions, scores)

    def stop(self) -> None:
        """Let the requests in flight finish, because their captions are kept."""


def _fatal(error: Exception) -> click.ClickException:
    """Return the exception for an error that concerns all files. A server's message may contain control characters."""
    return click.ClickException(printable(error))
