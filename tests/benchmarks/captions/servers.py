"""The servers that are compared, each as its users start it, on one checkpoint."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests

from tests.benchmarks.captions.images import image

ROOT = Path(__file__).parents[3]
PEERS = ROOT / ".venv-peers"
REQUIREMENTS = [ROOT / "requirements.txt", Path(__file__).parent / "peers" / "requirements.txt"]
CONFIG = '{"max_length": 16, "min_length": 16, "num_beams": 8}'


@dataclass(frozen=True)
class Server:
    """How to start a server, with {port} in its command, and how to read a caption from its answer."""

    name: str
    command: str
    variables: Mapping[str, str] = field(default_factory=dict)
    caption_of: Callable[[Any], str] = lambda answer: str(answer["caption"])
    form: Mapping[str, str] = field(default_factory=dict)
    path: str = "/caption/"


def ours(name: str, precision: str, workers: int | None = None) -> Server:
    arguments = f" --workers {workers}" if workers else ""
    return Server(
        name,
        f"gunicorn --bind 127.0.0.1:{{port}}{arguments} wsgi:app",
        {"FLASKAPP_CAPTIONER_PRECISION": precision, "FLASKAPP_CAPTIONER_DEADLINE": "600"},
        form={"config": CONFIG},
    )


OURS = (ours("flaskapp, fp32", "fp32"), ours("flaskapp, int8", "int8"))
THEIRS = (
    Server(
        "FastAPI + uvicorn", "uvicorn --port {port} --log-level warning tests.benchmarks.captions.peers.fastapi_app:app"
    ),
    Server("LitServe", "python -m tests.benchmarks.captions.peers.litserve_app {port}"),
    Server(
        "BentoML",
        "bentoml serve --port {port} tests.benchmarks.captions.peers.bentoml_app:CaptionService",
        {"BENTOML_DO_NOT_TRACK": "1"},
        caption_of=lambda answer: str(answer[0]),
        path="/batch",
    ),
)


def install_peers() -> None:
    """Make the environment of the peers, once."""
    if (PEERS / "bin" / "bentoml").exists():
        return
    subprocess.run([sys.executable, "-m", "venv", PEERS], check=True)
    files = [argument for file in REQUIREMENTS for argument in ("-r", str(file))]
    subprocess.run([PEERS / "bin" / "pip", "install", "--quiet", *files], check=True)


@contextmanager
def running(server: Server, checkpoint: Path, log: Path) -> Iterator["Client"]:
    """Start a server, wait for its first caption, and stop it in the end."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    program, *arguments = server.command.format(port=port).split()
    folder = PEERS / "bin" if server in THEIRS else Path(sys.executable).parent
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("FLASKAPP_")},
        **server.variables,
        "PATH": f"{folder}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "CHECKPOINT": str(checkpoint),
        "FLASKAPP_CAPTIONER_MODEL": str(checkpoint),
        "FLASKAPP_DATABASE_URL": f"sqlite:///{log.with_suffix('.db')}",
    }
    with log.open("w") as output:
        started = time.perf_counter()
        process = subprocess.Popen(
            [folder / program, *arguments], cwd=ROOT, env=environment, stdout=output, stderr=output
        )
        try:
            client = Client(server, f"http://127.0.0.1:{port}", process)
            client.wait_until_up(log)
            client.seconds_to_start = time.perf_counter() - started
            yield client
        finally:
            process.terminate()
            process.wait(60)


class Client:
    """Sends images to one running server, and counts its failures."""

    def __init__(self, server: Server, url: str, process: subprocess.Popen[bytes]) -> None:
        self.server, self.process = server, process
        self.seconds_to_start = 0.0
        self._url = url + server.path

    def send(self, image: bytes) -> None:
        """One image, one caption. Raises if anything else comes back."""
        answer = requests.post(
            self._url, files={"data": ("image.png", image, "image/png")}, data=self.server.form, timeout=600
        )
        answer.raise_for_status()
        if not self.server.caption_of(answer.json()):
            raise RuntimeError(f"{self.server.name} sent an empty caption")

    def wait_until_up(self, log: Path) -> None:
        for _ in range(600):
            try:
                return self.send(image(0))
            except requests.ConnectionError:
                if self.process.poll() is not None:
                    break
                time.sleep(0.2)  # nothing tells when a server of others listens
        raise RuntimeError(f"{self.server.name} did not start:\n{log.read_text()[-2000:]}")
