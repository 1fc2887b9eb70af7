"""The example programs that call a server print the expected lines."""

import ast
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT, Server, clean_environment, skip_unless_ci

STAR = "a large pink star on a yellow background"
RESULTS = [{"input": "star.png", "captions": [STAR, "a small pink star on a yellow background"]}]
ERRORS = {"multipart": {"config": {"num_beams": ["Must be greater than or equal to 1 and less than or equal to 32."]}}}
TABLE = [
    "index,input,error,caption",
    f"0,star.png,,{STAR}",
    "1,circle_and_diamond.png,,a large red circle left of a small black diamond on a pink background",
]


def run(server: Server, *command: str | Path) -> list[str]:
    ended = subprocess.run(
        [*command, server.url], cwd=ROOT, env=clean_environment(), capture_output=True, text=True, timeout=120
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout.splitlines()


def check(lines: list[str], parse: Any) -> None:
    caption, results, content_type, *table, errors = lines
    assert caption == STAR
    assert parse(results) == RESULTS
    assert content_type == "image/png"
    assert table == TABLE
    assert parse(errors) == ERRORS


def test_the_calls_with_curl_work(server: Server) -> None:
    check(run(server, ROOT / "examples" / "call.sh"), ast.literal_eval)


def test_the_calls_with_requests_work(server: Server) -> None:
    check(run(server, sys.executable, "examples/call.py"), ast.literal_eval)


def test_the_calls_with_fetch_work(server: Server) -> None:
    node = shutil.which("node")
    if node is None:
        skip_unless_ci("Node.js is not installed")
    assert node is not None
    check(run(server, node, "examples/call.mjs"), json.loads)


def test_the_calls_with_openai_s_client_work(server: Server) -> None:
    caption, streamed, error = run(server, sys.executable, "examples/call_openai.py")
    assert caption == streamed == STAR
    assert "messages.0.content.0.image_url.url" in error


@pytest.mark.parametrize("name", ["call.sh", "call.py", "call_openai.py", "call.mjs"])
def test_the_default_url_is_localhost(name: str) -> None:
    assert "http://localhost:8000" in (ROOT / "examples" / name).read_text()
