"""The documented curl calls give the documented answers."""

import os
import re
import shlex
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from flask.testing import FlaskClient

from tests.conftest import Server
from tests.documents import Command, all_commands, name_of

ID = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
ASSIGNMENT = re.compile(r"(\w+)=\$\((.+)\)")
CALLS = [command for command in all_commands() if "curl " in command.text]
SHOWN = [command for command in CALLS if not ASSIGNMENT.fullmatch(command.text)]
SECONDS_OF_A_JOB = 60

Run = Callable[[Command], str]


@pytest.fixture(scope="module")
def run(server: Server, folder: Path) -> Run:
    """Return a function that runs a command in bash and returns its output.

    The document's own assignments set its variables, once.
    """
    values: dict[tuple[Path, str], str] = {}

    def bash(document: Path, text: str) -> str:
        names = set(re.findall(r"\$(\w+)", text))
        variables = {name: value_of(document, name) for name in names}
        script = text.replace("http://localhost:8000", server.url)
        answer = subprocess.run(
            ["bash", "-o", "pipefail", "-c", script],
            cwd=folder, env=os.environ | variables, capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        assert answer.returncode == 0, answer.stderr
        return answer.stdout.strip()

    def value_of(document: Path, name: str) -> str:
        if (document, name) not in values:
            assigned = [ASSIGNMENT.fullmatch(text) for where, text, _ in all_commands() if where == document]
            (script,) = [match[2] for match in assigned if match and match[1] == name]
            values[document, name] = bash(document, script)
        return values[document, name]

    return lambda command: bash(command.document, command.text)


def without_random_values(text: str) -> str:
    return re.sub(ID, "an id", re.sub(r"[\d-]{10}T[\d:.]+\+00:00", "a time", text))


@pytest.mark.parametrize("command", SHOWN, ids=[f"{name_of(each.document)}: {each.text[:100]}" for each in SHOWN])
def test_each_curl_call_gives_the_documented_answer(run: Run, command: Command) -> None:
    until = time.monotonic() + (SECONDS_OF_A_JOB if "$job" in command.text else 0)
    answer, expected = run(command), without_random_values(command.output.strip())
    while without_random_values(answer) != expected and time.monotonic() < until:
        time.sleep(0.2)
        answer = run(command)
    assert without_random_values(answer) == expected


def test_every_endpoint_has_a_documented_call(client: FlaskClient) -> None:
    routes = client.application.url_map.bind("localhost")
    views = client.application.view_functions  # a view may have several paths
    called = set()
    for command in CALLS:
        text = (ASSIGNMENT.sub(r"\2", command.text)).partition(" | ")[0]
        method = "POST" if re.search(r" (-F|-d|--data-binary) ", text) else "GET"
        path = urlsplit(next(word for word in shlex.split(text) if word.startswith("http"))).path
        endpoint, _ = routes.match(path, method)
        called.add((views[endpoint], method))
    documented = {
        (views[rule.endpoint], method)
        for rule in client.application.url_map.iter_rules()
        for method in (rule.methods or set()) & {"GET", "POST"}
        if rule.endpoint == "docs.openapi"
        or not rule.endpoint.startswith(("docs.", "demo."))  # pages, to which the documents link
    }
    assert called == documented


def test_ubuntu_22_04_s_curl_has_every_option() -> None:
    """Ubuntu 22.04 has curl 7.81."""
    newer = ("--json", "%header{", "%{header_json}", "--url-query", "--variable", "--expand-")
    assert [command.text for command in CALLS if any(option in command.text for option in newer)] == []


def test_job_ids_are_variables() -> None:
    assert [command.text for command in CALLS if re.search(ID, command.text)] == []
