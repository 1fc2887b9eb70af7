"""The real application and embedded model, in this process (`client`) and as users run it (`server`)."""

import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import requests
from flask import Flask
from flask.testing import FlaskClient

from flaskapp import create_app
from tests.free_port import free_port

ROOT = Path(__file__).parent.parent
ASSETS = ROOT / "tests" / "assets"


@pytest.fixture(autouse=True)
def no_environment_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove the developer's own variables."""
    for name in os.environ.keys() - clean_environment().keys():
        monkeypatch.delenv(name)


def clean_environment() -> dict[str, str]:
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("FLASKAPP_", "GUNICORN_", "PROMETHEUS_"))
    }


@pytest.fixture
def make_app(tmp_path: Path) -> Iterator[Callable[..., Flask]]:
    """Yield a function that creates an application with settings, the embedded model and the test's database."""
    apps = []

    def make(**settings: Any) -> Flask:
        defaults = {"CAPTIONER_MODEL": "embedded", "DATABASE_URL": f"sqlite:///{tmp_path / 'test.db'}"}
        app = create_app(defaults | settings)
        app.extensions["jobs"].on_wait = lambda: None  # start no worker: tests process the messages themselves
        apps.append(app)
        return app

    yield make
    for app in apps:
        app.extensions["accounts"].close()


@pytest.fixture
def client(make_app: Callable[..., Flask]) -> FlaskClient:
    return make_app().test_client()


@dataclass
class Server:
    """A running `gunicorn wsgi:app` with the lines of its log."""

    process: subprocess.Popen[str]
    url: str
    lines: list[str] = field(default_factory=list)
    has_ended: bool = False
    _changed: threading.Condition = field(default_factory=threading.Condition)

    def __post_init__(self) -> None:
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def _listen(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._changed:
                self.lines.append(line)
                self._changed.notify_all()
        with self._changed:
            self.has_ended = True
            self._changed.notify_all()

    def wait_for(self, text: str, times: int = 1) -> str:
        """Wait for `times` lines of the log that contain a text. Return the last of them."""

        def found() -> list[str]:
            return [line for line in self.lines if text in line]

        with self._changed:
            self._changed.wait_for(lambda: len(found()) >= times or self.has_ended, timeout=120)
            assert len(found()) >= times, f"{text!r} is not in the log:\n{''.join(self.lines)}"
            return found()[-1]

    def count(self, text: str) -> int:
        """Return the number of lines of the log with this text so far."""
        return sum(text in line for line in self.lines)

    def stop(self) -> int:
        """Stop the server gracefully and return its exit code."""
        self.process.terminate()
        return self.process.wait(40)

    def close(self) -> None:
        """Stop the server if it still runs, and read the rest of its log."""
        if self.process.poll() is None:
            self.stop()
        self._listener.join(10)
        assert self.process.stdout is not None
        self.process.stdout.close()


def launch(
    *arguments: str,
    command: str = "gunicorn --bind {address}:{port} wsgi:app",
    address: str = "127.0.0.1",
    folder: Path = ROOT,
    **variables: str,
) -> Server:
    """Start a program that listens at a free port. The caller closes the server."""
    port = free_port(address)
    program, *rest = command.format(address=address, port=port).split()
    process = subprocess.Popen(
        [Path(sys.executable).with_name(program), *rest, *arguments],
        cwd=folder, env=clean_environment() | variables, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    return Server(process, f"http://{address}:{port}")


@contextmanager
def _server_starter(folders: pytest.TempPathFactory) -> Iterator[Callable[..., Server]]:
    """Yield a function that starts servers with arguments and environment variables. Stop all of them at the end."""
    servers: list[Server] = []

    def start(*arguments: str, ready: str | None = None, **options: Any) -> Server:
        """Start a server and wait for the embedded model or, with another model, for a web worker."""
        is_embedded = options.get("FLASKAPP_CAPTIONER_MODEL", "embedded") == "embedded"
        defaults = {
            "FLASKAPP_CAPTIONER_MODEL": "embedded",
            "FLASKAPP_DATABASE_URL": f"sqlite:///{folders.mktemp('server') / 'server.db'}",
        }
        servers.append(launch(*arguments, **defaults | options))
        servers[-1].wait_for(ready or ("The model is ready" if is_embedded else "Booting worker"))
        return servers[-1]

    yield start
    with ThreadPoolExecutor() as pool:
        list(pool.map(Server.close, servers))


@pytest.fixture(scope="module")
def start_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Server]]:
    """Start servers for one module. They stop after its last test, because hundreds would fill the memory."""
    with _server_starter(tmp_path_factory) as start:
        yield start


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Yield the bare `gunicorn wsgi:app`, shared by all tests."""
    with _server_starter(tmp_path_factory) as start:
        yield start()


@pytest.fixture(scope="session")
def chromium() -> str:
    """Return the path of Chromium."""
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        skip_unless_ci("no Chromium is installed")
    assert path is not None
    return path


def skip_unless_ci(reason: str) -> None:
    """Skip the test, but fail it in CI, where everything is installed."""
    if os.environ.get("CI"):
        pytest.fail(f"{reason}, and this is CI")
    pytest.skip(reason)


def assert_error(response: Any, status: int, *where: str) -> None:
    """Check flask-smorest's shape of an error. `where` is the path in `errors` to the field that it must name."""
    body = response.json() if isinstance(response, requests.Response) else response.get_json()
    assert response.status_code == status, body
    assert body.keys() <= {"code", "status", "message", "errors"}, body
    assert body["code"] == status
    assert isinstance(body["status"], str)
    assert "Traceback" not in str(body)
    assert str(ROOT) not in str(body)
    errors = body.get("errors", {})
    for name in where:
        assert name in errors, f"{name!r} is not named in {body}"
        errors = errors[name]
