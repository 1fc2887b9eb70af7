"""The server runs without Linux's features, as on macOS."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import requests

from tests.conftest import Server
from tests.jobs.cluster import poll_until, scene, status_of, submit
from tests.serving.servers import post_star

MISSING = """
import ctypes, os, pathlib, select

for module, name in (
    (select, "epoll"), (select, "POLLRDHUP"), (os, "posix_fallocate"), (os, "memfd_create"), (os, "sched_getaffinity"),
    (os, "pidfd_open"), (os, "eventfd"),
):
    delattr(module, name)

mkdir, is_dir = os.mkdir, pathlib.Path.is_dir


def mkdir_elsewhere(path, *arguments, **options):
    if str(path).startswith("/dev/shm"):
        raise FileNotFoundError(path)
    mkdir(path, *arguments, **options)


class CDLL(ctypes.CDLL):
    def __getattr__(self, name):
        if name == "prctl":
            raise AttributeError(name)
        return super().__getattr__(name)


os.mkdir, ctypes.CDLL = mkdir_elsewhere, CDLL
pathlib.Path.is_dir = lambda path: str(path) != "/dev/shm" and is_dir(path)
print("This system lacks what Linux has", flush=True)
"""


def test_captions_and_jobs_work_without_linux_s_features(start_server: Callable[..., Server], tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(MISSING)
    server = start_server("--workers", "1", PYTHONPATH=str(tmp_path))
    server.wait_for("This system lacks what Linux has")
    assert post_star(server.url).status_code == 200
    job = submit(server.url, [scene(0)[0]])
    poll_until(lambda status: status["state"] == "done", partial(status_of, job), 60)
    metrics = requests.get(server.url + "/metrics", timeout=30)
    assert "flaskapp_captions_total" in metrics.text
    assert not list(Path("/dev/shm").glob(f"*-{server.process.pid}-*"))
    assert server.stop() == 0
