"""The development server that docs/operating.md describes."""

import os
import shutil
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import requests

from tests.conftest import ASSETS, ROOT, Server


def test_log_lines_of_flask_run_have_no_query_strings(start_server: Callable[..., Server]) -> None:
    server = start_server(command="flask --app wsgi run --port {port}", ready="Running on")
    for query in ("username=eve&password=canary", "password=ca%20nary%20HTTP&x=canary HTTP/1.1", "canary?canary"):
        requests.post(f"{server.url}/login/?{query}", timeout=60)
    server.wait_for("POST /login/ HTTP/1.1", times=3)
    assert "canary" not in "".join(server.lines)


def test_flask_run_reloads_on_change(start_server: Callable[..., Server], tmp_path: Path) -> None:
    shutil.copytree(ROOT / "flaskapp", tmp_path / "flaskapp")
    shutil.copy(ROOT / "wsgi.py", tmp_path)
    server = start_server(
        command="flask --app wsgi run --debug --port {port}", folder=tmp_path, ready="Debugger is active"
    )
    assert requests.get(server.url, timeout=30).json()["message"] == "OK"
    status = tmp_path / "flaskapp" / "api" / "status.py"
    status.write_text(status.read_text().replace('"message": "OK"', '"message": "Reloaded"'))
    server.wait_for("Debugger is active", times=2)
    assert requests.get(server.url, timeout=30).json()["message"] == "Reloaded"


def test_flask_run_captions_jobs_also_after_a_restart(start_server: Callable[..., Server], tmp_path: Path) -> None:
    def run() -> Server:
        return start_server(
            command="flask --app wsgi run --port {port}",
            ready="Running on",
            FLASKAPP_DATABASE_URL=f"sqlite:///{tmp_path / 'jobs.db'}",
        )

    first = run()
    files = [("data", (ASSETS / "star.png").read_bytes())] * 200
    job = requests.post(first.url + "/caption_jobs/", files=files, timeout=60).json()
    os.kill(first.process.pid, signal.SIGKILL)
    second = run()
    until = time.monotonic() + 60
    while (seen := requests.get(f"{second.url}/caption_jobs/{job['id']}", timeout=60).json())["state"] != "done":
        assert seen["state"] in ("queued", "running")
        assert time.monotonic() < until
        threading.Event().wait(0.2)  # polls like a client
    assert seen["done"] == len(files)
