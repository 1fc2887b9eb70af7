"""The compared servers, started as their users start them, on one checkpoint."""

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import requests
from prometheus_client.parser import text_string_to_metric_families

from tests.benchmarks.captions.images import image
from tests.benchmarks.captions.onnx import exported
from tests.benchmarks.process import ONNX_PEERS, PEERS, Environment, Serving, serving

CONFIG = '{"max_length": 16, "min_length": 16, "num_beams": 8}'


@dataclass(frozen=True)
class Server:
    """A server: its command, with {port}, and a function that reads a caption from its answer.

    Peers have an `environment`. `prepare` converts the checkpoint for the server, and returns the converted folder.
    """

    name: str
    command: str
    variables: Mapping[str, str] = field(default_factory=dict)
    caption_of: Callable[[Any], str] = lambda answer: str(answer["caption"])
    form: Mapping[str, str] = field(default_factory=dict)
    path: str = "/caption/"
    environment: Environment | None = None
    prepare: Callable[[Path], Path] = lambda checkpoint: checkpoint


def ours(name: str, precision: str, workers: int | None = None) -> Server:
    arguments = f" --workers {workers}" if workers else ""
    return Server(
        name,
        f"gunicorn --bind 127.0.0.1:{{port}}{arguments} wsgi:app",
        {"FLASKAPP_CAPTIONER_PRECISION": precision, "FLASKAPP_CAPTIONER_DEADLINE": "600"},
        form={"config": CONFIG},
    )


OURS = tuple(ours(f"flaskapp, {precision}", precision) for precision in ("fp32", "bf16", "int8"))
THEIRS = (
    Server(
        "FastAPI + uvicorn",
        "uvicorn --port {port} --log-level warning tests.benchmarks.captions.peers.fastapi_app:app",
        environment=PEERS,
    ),
    Server("LitServe", "python -m tests.benchmarks.captions.peers.litserve_app {port}", environment=PEERS),
    Server(
        "BentoML",
        "bentoml serve --port {port} tests.benchmarks.captions.peers.bentoml_app:CaptionService",
        {"BENTOML_DO_NOT_TRACK": "1"},
        caption_of=lambda answer: str(answer[0]),
        path="/batch",
        environment=PEERS,
    ),
)
ONNX = Server(
    "FastAPI + ONNX Runtime, int8",
    "uvicorn --port {port} --log-level warning tests.benchmarks.captions.peers.onnx_app:app",
    environment=ONNX_PEERS,
    prepare=exported,
)


@contextmanager
def running(server: Server, checkpoint: Path, log: Path) -> Iterator["Client"]:
    """Start a server and wait for its first caption. Stop it after the block."""
    folder = server.environment.install() if server.environment else Path(sys.executable).parent
    files = str(server.prepare(checkpoint))
    variables = {**server.variables, "CHECKPOINT": files, "FLASKAPP_CAPTIONER_MODEL": files}
    with serving(server.command, folder, log, variables) as process:
        client = Client(server, process, log)
        client.send_first()
        yield client


class Batches(NamedTuple):
    """Numbers of batches and of images in them."""

    batches: float
    images: float


class Client:
    """Sends images to one running server."""

    def __init__(self, server: Server, serving: Serving, log: Path) -> None:
        self.server, self.process = server, serving.process
        self.seconds_to_first = 0.0  # from the server's start to the first caption
        self._started, self._log = serving.started, log
        self._url, self._metrics_url = serving.url + server.path, serving.url + "/metrics"

    def send(self, image: bytes) -> None:
        """Caption an image. Raise an error for any other answer."""
        answer = requests.post(
            self._url, files={"data": ("image.png", image, "image/png")}, data=self.server.form, timeout=600
        )
        answer.raise_for_status()
        if not self.server.caption_of(answer.json()):
            raise RuntimeError(f"{self.server.name} sent an empty caption")

    def batches(self) -> Batches | None:
        """Return the batches of one of our servers so far; None for others."""
        if self.server.environment:
            return None
        answer = requests.get(self._metrics_url, timeout=60)
        answer.raise_for_status()
        families = text_string_to_metric_families(answer.text)
        found = {sample.name: sample.value for family in families for sample in family.samples}
        return Batches(found["flaskapp_captioner_batch_images_count"], found["flaskapp_captioner_batch_images_sum"])

    def send_first(self) -> None:
        """Send the first image until it is captioned: some servers answer 503 before they have a model."""
        for _ in range(600):
            try:
                self.send(image(0))
            except (requests.ConnectionError, requests.HTTPError):
                if self.process.poll() is not None:
                    break
                time.sleep(0.2)  # other servers do not announce their model
            else:
                self.seconds_to_first = time.perf_counter() - self._started
                return
        raise RuntimeError(f"{self.server.name} sent no caption:\n{self._log.read_text()[-2000:]}")
