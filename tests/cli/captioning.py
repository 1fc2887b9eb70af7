"""Helpers of the tests of `flask --app wsgi caption`."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from click.testing import Result

from flaskapp.client import Client
from tests.client.scripted import answer
from tests.conftest import ROOT, Server, clean_environment

STAR = "a large pink star on a yellow background"
CIRCLE_AND_DIAMOND = "a large red circle left of a small black diamond on a pink background"
Run = Callable[..., Result]


def flask_caption(*arguments: object, **pipes: object) -> subprocess.Popen[bytes]:
    environment = clean_environment() | {"FLASKAPP_CAPTIONER_MODEL": "embedded"}
    flask = Path(sys.executable).with_name("flask")
    command = [flask, "--app", "wsgi", "caption", *map(str, arguments)]
    return subprocess.Popen(command, cwd=ROOT, env=environment, **pipes)  # type: ignore[call-overload, no-any-return]


def entries(manifest: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in manifest.read_text().splitlines()[1:]]


def ready(model: str) -> bytes:
    return answer(200, {"model": {"name": model, "message": "OK", "ready": True}})


def log_in(server: Server, username: str, password: str) -> None:
    with Client(server.url) as client:
        assert client.login(username, password) == "login saved"
