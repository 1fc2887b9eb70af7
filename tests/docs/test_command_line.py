"""The `flask caption` commands of docs/command-line.md. tests/cli runs those of docs/security.md."""

import csv
import json
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
from flask import Flask

from tests.conftest import Server
from tests.documents import flask_commands


def test_the_caption_commands_print_the_documented_output(
    make_app: Callable[..., Flask], server: Server, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    commands = flask_commands("caption")
    assert len(commands) == 3
    runner = make_app().test_cli_runner()
    for _, text, output in commands:
        result = runner.invoke(args=shlex.split(text.replace("http://localhost:8000", server.url)))
        assert (result.exit_code, result.stdout) == (0, output), result.output
    lines = (folder / "captions.jsonl").read_text().splitlines()
    assert len(lines) == len(list((folder / "tests" / "assets").glob("*.png")))
    assert {json.loads(line)["model"] for line in lines} == {"embedded"}
    rows = list(csv.DictReader((folder / "captions.csv").read_text().splitlines()))
    assert [row["caption"] for row in rows] == [json.loads(line)["captions"][0] for line in lines]
