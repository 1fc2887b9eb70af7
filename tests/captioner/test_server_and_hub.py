"""A server, as users run it, whose hub fails."""

import os
import select
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.captioner.stub_hub import Refusal, StubHub
from tests.conftest import ASSETS, Server, assert_error, launch
from tests.serving.test_engine_process import engines

SERVERS = {
    "gunicorn": "gunicorn --workers 2 --bind {address}:{port} wsgi:app",
    "flask": "flask --app wsgi run --port {port}",
}


@pytest.fixture
def start(start_server: Callable[..., Server], hub: StubHub, tmp_path: Path) -> Callable[..., Server]:
    def start(name: str = "gunicorn", **options: Any) -> Server:
        ready = "Booting worker" if name == "gunicorn" else "Running on"
        hub_variables = {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "cache"), "FLASKAPP_CAPTIONER_MODEL": ""}
        return start_server(command=SERVERS[name], ready=ready, **hub_variables, **options)

    return start


def caption(url: str) -> requests.Response:
    config = {"config": '{"max_length": 8, "num_beams": 1}'}
    return requests.post(url + "/caption/", files={"data": (ASSETS / "star.png").read_bytes()}, data=config, timeout=60)


def wait_until_ready(url: str) -> None:
    """Wait until each worker that answers is ready."""
    until, in_a_row = time.monotonic() + 120, 0
    while in_a_row < 10:
        assert time.monotonic() < until
        in_a_row = in_a_row + 1 if requests.get(url + "/readyz", timeout=30).ok else 0
        time.sleep(0.1)


@pytest.mark.slow
@pytest.mark.parametrize("name", SERVERS)
def test_a_server_becomes_ready_without_a_restart_when_the_hub_offers_the_model(
    start: Callable[..., Server], hub: StubHub, name: str
) -> None:
    hub.down = Refusal(503)
    server = start(name)
    requests.get(server.url + "/readyz", timeout=30)
    server.wait_for("the server tries again")
    for path in ("/", "/livez", "/items/5"):
        assert requests.get(server.url + path, timeout=5).status_code == 200
    ready = requests.get(server.url + "/readyz", timeout=5)
    assert_error_of_model(ready.json())
    assert ready.status_code == 503
    refused = caption(server.url)
    assert_error(refused, 503)
    assert "is not available from the hub at the moment" in refused.json()["message"]
    hub.down = None
    wait_until_ready(server.url)
    assert caption(server.url).json()["model"] == hub.model
    assert "EMBEDDED" not in "".join(server.lines)


def assert_error_of_model(body: dict[str, Any]) -> None:
    assert body["model"] == {
        "name": "none",
        "ready": False,
        "message": "nlpconnect/vit-gpt2-image-captioning is not available from the hub at the moment",
    }


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_a_downloading_server_at_once(hub: StubHub, tmp_path: Path, number: signal.Signals) -> None:
    hub.stalls = True
    server = launch(
        HF_ENDPOINT=hub.url, HF_HOME=str(tmp_path / "cache"), FLASKAPP_DATABASE_URL=f"sqlite:///{tmp_path / 'a.db'}"
    )
    try:
        hub.wait_for_weights()
        os.kill(server.process.pid, number)
        assert server.process.wait(20) == 0, "it takes two seconds, more on a busy machine, but not gunicorn's thirty"
        server.wait_for("Shutting down: Master")
    finally:
        server.close()


@pytest.mark.slow
def test_a_download_ends_with_its_server(hub: StubHub, tmp_path: Path) -> None:
    hub.stalls = True
    server = launch(
        HF_ENDPOINT=hub.url, HF_HOME=str(tmp_path / "cache"), FLASKAPP_DATABASE_URL=f"sqlite:///{tmp_path / 'a.db'}"
    )
    hub.wait_for_weights()
    (engine,) = engines(server)
    children = [each.read_text() for each in Path(f"/proc/{engine}/task").glob("*/children")]  # children of each thread
    (download,) = map(int, " ".join(children).split())
    descriptor = os.pidfd_open(download)
    server.process.kill()
    ended, _, _ = select.select([descriptor], [], [], 5)
    os.close(descriptor)
    server.close()
    assert ended, "the downloading process outlived the server"
