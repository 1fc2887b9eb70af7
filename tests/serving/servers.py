"""Helpers for running servers: their processes, and common requests."""

from pathlib import Path

import requests

from flaskapp.machine import usable_cores
from tests.conftest import ASSETS, Server

WORKERS = min(4, usable_cores())  # web workers of gunicorn.conf.py


def workers_of(server: Server) -> list[int]:
    """Return the pids of the web workers, without the job supervisor, which the log does not name."""
    pid = server.process.pid
    booted = [int(line.rpartition(" ")[2]) for line in server.lines if "Booting worker with pid" in line]
    return [pid for pid in map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()) if pid in booted]


def identity(pid: int) -> dict[str, list[str]]:
    """Return a process's users, groups and supplementary groups."""
    lines = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return {name: lines[name].split() for name in ("Uid", "Gid", "Groups")}


def post_star(url: str) -> requests.Response:
    files = {"data": ("star.png", (ASSETS / "star.png").read_bytes())}
    return requests.post(url + "/caption/", files=files, timeout=60)


def log_in(server: Server, name: str, password: str = "correct horse") -> requests.Response:
    return requests.post(server.url + "/login/", json={"username": name, "password": password}, timeout=60)
