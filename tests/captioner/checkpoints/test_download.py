"""Downloads from a server on this machine that answers as the hub does."""

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Flask, Response, jsonify, send_file
from werkzeug.serving import make_server

from flaskapp.captioner.checkpoints.hub import DEFAULT_MODEL, DEFAULT_REVISION, EMBEDDED
from tests.captioner.tiny import make_model, small_vit, write_like_the_hub

FIND_AND_LOAD = """
import json, sys, torch
from flaskapp.captioner.checkpoints import hub
from flaskapp.captioner.checkpoints.load import load
found = hub.find(*json.loads(sys.argv[1]))
load(found, torch.float32)
print(found.name, *sorted(file.name for file in found.folder.iterdir()))
"""


class Hub:
    """Serves the files of one folder as the default model. `paths` are the files that were asked for."""

    def __init__(self, folder: Path) -> None:
        self.paths: list[str] = []
        app = Flask("hub")
        files = [
            {"type": "file", "path": file.name, "size": file.stat().st_size, "oid": f"{number:040x}"}
            for number, file in enumerate(sorted(folder.iterdir()))
        ]

        @app.get(f"/api/models/{DEFAULT_MODEL}/revision/{DEFAULT_REVISION}")
        def info() -> Response:
            return jsonify({"id": DEFAULT_MODEL, "sha": DEFAULT_REVISION, "siblings": []})

        @app.get(f"/api/models/{DEFAULT_MODEL}/tree/{DEFAULT_REVISION}")
        def tree() -> Response:
            return jsonify(files)

        @app.get(f"/{DEFAULT_MODEL}/resolve/{DEFAULT_REVISION}/<path>")
        def resolve(path: str) -> Response:
            self.paths.append(path)
            answer = send_file(folder / path)
            answer.headers["X-Repo-Commit"] = DEFAULT_REVISION
            return answer

        self._server = make_server("127.0.0.1", 0, app, threaded=True)
        self.url = f"http://127.0.0.1:{self._server.port}"
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    folder = write_like_the_hub(tmp_path / "repository", make_model(small_vit()))
    (folder / "README.md").write_text("not needed")
    hub = Hub(folder)
    yield hub
    hub.close()


def find_and_load(url: str, cache: Path, model: str | None = None) -> subprocess.CompletedProcess[str]:
    """In a process of its own: the hub's library reads its variables once, at import."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FIND_AND_LOAD, json.dumps([model, None])],
        env=environment | {"HF_ENDPOINT": url, "HF_HOME": str(cache)},
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip


@pytest.mark.parametrize("model", [None, DEFAULT_MODEL])
def test_a_model_is_downloaded_once_and_found_again_without_the_hub(
    hub: Hub, tmp_path: Path, model: str | None
) -> None:
    first = find_and_load(hub.url, tmp_path / "cache", model)
    assert first.stdout.startswith(DEFAULT_MODEL), first.stderr
    assert "README.md" not in hub.paths
    asked = len(hub.paths)
    hub.close()
    again = find_and_load(hub.url, tmp_path / "cache", model)
    assert again.stdout == first.stdout, again.stderr
    assert len(hub.paths) == asked


def test_a_download_shows_how_far_it_is(hub: Hub, tmp_path: Path) -> None:
    assert "100%" in find_and_load(hub.url, tmp_path / "cache").stderr


def test_a_hub_that_never_answers_is_given_up(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes connections and says nothing
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        fallback = find_and_load(url, tmp_path / "cache")
        assert fallback.stdout.startswith(EMBEDDED), fallback.stderr
        named = find_and_load(url, tmp_path / "cache", DEFAULT_MODEL)
    assert named.returncode != 0
    assert "ConnectionError" in named.stderr
