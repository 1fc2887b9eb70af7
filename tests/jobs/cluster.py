"""Worker machines as far as one machine can show them: processes that share a broker, a database and a blob store."""

import io
import json
import os
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import requests

from flaskapp.captioner.embedded.scenes import scene_at
from tests.conftest import ROOT, clean_environment

POLL = 0.2  # seconds: a job's progress is asked for, nothing announces it


class Workers:
    """`celery -A flaskapp.jobs worker`, so many times. What they log lies in a file each."""

    def __init__(self, settings: dict[str, str], folder: Path) -> None:
        self._environment = clean_environment() | settings
        self._folder = folder
        self._started = 0
        self.processes: list[subprocess.Popen[bytes]] = []

    def start(self, cores: set[int] | None = None) -> None:
        self._started += 1
        command = [Path(sys.executable).with_name("celery"), "-A", "flaskapp.jobs", "worker", "--hostname"]
        with (self._folder / f"worker {self._started}.log").open("w") as log:
            process = subprocess.Popen(
                [*command, f"worker{self._started}@test"], cwd=ROOT, env=self._environment, stdout=log, stderr=log
            )
        if cores:
            os.sched_setaffinity(process.pid, cores)
        self.processes.append(process)

    def kill(self, number: int) -> None:
        """As `kill -9` does, and the out-of-memory killer."""
        process = self.processes.pop(number)
        process.kill()
        process.wait(10)

    def stop(self) -> None:
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            process.wait(30)
        self.processes.clear()

    def logs(self) -> str:
        return "\n".join(f"{file.name}:\n{file.read_text()}" for file in sorted(self._folder.glob("worker *.log")))


def scene(number: int) -> tuple[bytes, str]:
    """A PNG, and the caption that is right for it."""
    picture, caption = scene_at("held-out", number)
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue(), caption


def zip_of(images: Sequence[bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for number, image in enumerate(images):
            archive.writestr(f"{number}.png", image)
    return buffer.getvalue()


def submit(url: str, images: Sequence[bytes], config: str = "{}") -> str:
    """Returns the address of the job."""
    files = {"data": ("images.zip", zip_of(images)), "config": (None, config)}
    answer = requests.post(url + "/caption_jobs/", files=files, timeout=60)
    assert answer.status_code == 202, answer.text
    return url + str(answer.headers["Location"])


def wait_until(condition: Callable[[dict[str, Any]], bool], job: str, seconds: float) -> dict[str, Any]:
    """How a job stands, once a condition holds. While the database is away it cannot be told."""
    until = time.monotonic() + seconds
    status: dict[str, Any] = {}
    while time.monotonic() < until:
        answer = requests.get(job, timeout=30)
        assert answer.status_code in (200, 503), answer.text
        if answer.status_code == 200:
            status = answer.json()
            if condition(status):
                return status
        time.sleep(POLL)
    raise AssertionError(f"it never came to that: {status}")


def results(job: str) -> list[dict[str, Any]]:
    answer = requests.get(job + "/results?format=jsonl", timeout=60)
    assert answer.status_code == 200
    return [json.loads(line) for line in answer.text.splitlines()]
