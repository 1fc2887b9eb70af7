"""Worker processes on one machine, which share a broker, a database and a blob store like worker machines."""

import io
import json
import os
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Sequence
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any

import requests

from flaskapp.captioner.embedded.scenes import scene_at
from tests.conftest import ROOT, clean_environment
from tests.jobs.hosts import Host

POLL = 0.2  # seconds between status requests: nothing announces a job's progress


class Workers:
    """Processes of `celery -A flaskapp.jobs worker`, each with its log file."""

    def __init__(self, settings: dict[str, str], folder: Path) -> None:
        self._environment = clean_environment() | settings
        self._folder = folder
        self._folder.mkdir(exist_ok=True)
        self._started = 0
        self.processes: list[subprocess.Popen[bytes]] = []
        self._hosts: list[Host | None] = []

    def start(self, cores: set[int] | None = None, host: Host | None = None) -> None:
        self._started += 1
        name = f"worker{self._started}@{host.name if host else 'test'}"
        command = [Path(sys.executable).with_name("celery"), "-A", "flaskapp.jobs", "worker", "--hostname", name]
        with (self._folder / f"{name}.log").open("w") as log, host.entered() if host else nullcontext():
            process = subprocess.Popen(command, cwd=ROOT, env=self._environment, stdout=log, stderr=log)
        if cores:
            os.sched_setaffinity(process.pid, cores)
        self.processes.append(process)
        self._hosts.append(host)

    def replace(self, number: int) -> None:
        """Kill a worker with SIGKILL, like the out-of-memory killer, and start another in its place."""
        process, host = self.processes.pop(number), self._hosts.pop(number)
        process.kill()
        process.wait(10)
        self.start(host=host)

    def stop(self) -> None:
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            with suppress(subprocess.TimeoutExpired):
                process.wait(30)
            process.kill()
            process.wait(10)
        self.processes.clear()
        self._hosts.clear()

    def logs(self) -> str:
        return "\n".join(f"{file.name}:\n{file.read_text()}" for file in sorted(self._folder.glob("worker*.log")))


def scene(number: int) -> tuple[bytes, str]:
    """Return a PNG and its right caption."""
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
    """Submit a job and return its URL."""
    files = {"data": ("images.zip", zip_of(images)), "config": (None, config)}
    answer = requests.post(url + "/caption_jobs/", files=files, timeout=60)
    assert answer.status_code == 202, answer.text
    return url + str(answer.headers["Location"])


def status_of(job: str) -> dict[str, Any] | None:
    """Return the status of the job at a URL, or None while the database is unavailable."""
    answer = requests.get(job, timeout=30)
    assert answer.status_code in (200, 503), answer.text
    status: dict[str, Any] | None = answer.json() if answer.status_code == 200 else None
    return status


def poll_until(condition: Callable[[Any], bool], ask: Callable[[], Any], seconds: float) -> Any:
    """Call `ask` until a condition holds for its result, which is returned. None never counts."""
    until = time.monotonic() + seconds
    answer = None
    while time.monotonic() < until:
        answer = ask()
        if answer is not None and condition(answer):
            return answer
        time.sleep(POLL)
    raise AssertionError(f"the condition did not hold in time for {answer}")


def results(job: str) -> list[dict[str, Any]]:
    answer = requests.get(job + "/results?format=jsonl", timeout=60)
    assert answer.status_code == 200
    return [json.loads(line) for line in answer.text.splitlines()]
