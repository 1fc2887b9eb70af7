"""Servers as their users start them: a command, an environment, a port."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tests.free_port import free_port
from tests.polling import wait_until_listening

ROOT = Path(__file__).parents[2]
TIMEOUT = 300  # seconds that a server may take to listen
NOT_INHERITED = ("FLASKAPP_", "GOMP_")  # first letters of variables; importing flaskapp.captioner sets GOMP_SPINCOUNT


@dataclass(frozen=True)
class Serving:
    """A server that listens."""

    url: str
    process: subprocess.Popen[bytes]
    started: float  # `time.perf_counter()`


@dataclass(frozen=True)
class Environment:
    """A virtual environment of peers."""

    folder: Path
    requirements: tuple[Path, ...]

    def install(self) -> Path:
        """Create the environment, once for these requirements. Return the folder of its programs."""
        programs, installed = self.folder / "bin", self.folder / "requirements.txt"
        wanted = "".join(file.read_text() for file in self.requirements)
        if not installed.exists() or installed.read_text() != wanted:
            subprocess.run([sys.executable, "-m", "venv", self.folder], check=True)
            files = [argument for file in self.requirements for argument in ("-r", str(file))]
            subprocess.run([programs / "pip", "install", "--quiet", *files], check=True)
            installed.write_text(wanted)
        return programs


PEERS = Environment(ROOT / ".venv-peers", (ROOT / "requirements.txt", Path(__file__).with_name("requirements.txt")))
ONNX_PEERS = Environment(ROOT / ".venv-peers-onnx", (Path(__file__).with_name("requirements-onnx.txt"),))


@contextmanager
def serving(command: str, folder: Path, log: Path, variables: Mapping[str, str]) -> Iterator[Serving]:
    """Start a program of `folder` with {port} in its command and wait until it listens. Stop it after the block."""
    port = free_port()
    program, *arguments = command.format(port=port).split()
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith(NOT_INHERITED)},
        "FLASKAPP_DATABASE_URL": f"sqlite:///{log.with_suffix('.db')}",
        "PATH": f"{folder}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        **variables,
    }
    with log.open("w") as output:
        started = time.perf_counter()
        process = subprocess.Popen(
            [folder / program, *arguments],
            cwd=ROOT,
            env=environment,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
        try:
            try:
                wait_until_listening(process, port, TIMEOUT)
            except AssertionError as error:
                raise RuntimeError(f"the server did not start:\n{log.read_text()[-2000:]}") from error
            yield Serving(f"http://127.0.0.1:{port}", process, started)
        finally:
            _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(60)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # some leave children behind


def process_tree(pid: int) -> list[int]:
    """Return the pids of a process and all its descendants."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(each for child in children for each in process_tree(int(child)))]
