"""A claim of the README is a tested claim."""

import csv
import doctest
import json
import re
import shlex
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from flask import Flask
from flask.testing import FlaskClient

from flaskapp.settings import PREFIX, SETTINGS
from tests.conftest import ROOT, Server

ID = r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"
README = (ROOT / "README.md").read_text()
OTHER_CALLS = (ROOT / "flaskapp/api/README.md").read_text()
CALLS = re.findall(r"^\$ (curl .+)\n((?:[^$`\n].*\n)*)", README + OTHER_CALLS, flags=re.MULTILINE)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder to call from, so that what curl saves does not lie in the checkout."""
    folder = tmp_path_factory.mktemp("readme")
    for name in ("tests", "README.md"):
        (folder / name).symlink_to(ROOT / name)
    return folder


@pytest.fixture(scope="module")
def run(server: Server, folder: Path) -> Callable[[str], str]:
    """Runs a curl command of the README and returns what it prints."""

    def run(command: str) -> str:
        arguments = shlex.split(command.replace("http://localhost:8000", server.url))
        answer = subprocess.run(arguments, cwd=folder, capture_output=True, text=True, timeout=60)
        assert answer.returncode == 0, answer.stderr
        return answer.stdout.strip()

    return run


@pytest.fixture(scope="module")
def job_id(run: Callable[[str], str]) -> str:
    """Of the job that the README has made."""
    submit = next(command for command, _ in CALLS if command.endswith("/caption_jobs/"))
    return re.search(ID, run(submit))[0]  # type: ignore[index]


def without_chance(text: str) -> str:
    return re.sub(ID, "an id", re.sub(r"[\d-]{10}T[\d:.]+\+00:00", "a time", text))


@pytest.mark.parametrize(("command", "expected"), CALLS, ids=[command for command, _ in CALLS])
def test_each_curl_call_answers_what_the_readme_says(
    request: pytest.FixtureRequest, run: Callable[[str], str], command: str, expected: str
) -> None:
    until = time.monotonic()
    if re.search(ID, command):
        command = re.sub(ID, request.getfixturevalue("job_id"), command)
        until += 60  # it is being worked at
    answer, expected = run(command), without_chance(expected.strip())
    while without_chance(answer) != expected and time.monotonic() < until:
        time.sleep(0.2)
        answer = run(command)
    assert without_chance(answer) == expected


def test_there_is_a_call_for_every_endpoint(client: FlaskClient) -> None:
    routes = client.application.url_map.bind("localhost")
    views = client.application.view_functions  # one may have several paths
    called = set()
    for command, _ in CALLS:
        method = "POST" if re.search(r" (-F|-d|--json|--data-binary) ", command) else "GET"
        path = urlsplit(next(word for word in shlex.split(command) if word.startswith("http"))).path
        endpoint, _ = routes.match(path, method)
        called.add((views[endpoint], method))
    documented = {
        (views[rule.endpoint], method)
        for rule in client.application.url_map.iter_rules()
        for method in (rule.methods or set()) & {"GET", "POST"}
        if rule.endpoint == "docs.openapi"
        or not rule.endpoint.startswith(("docs.", "demo."))  # pages: it links to them
    }
    assert called == documented


def test_the_python_client_does_what_the_readme_says(
    server: Server, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    (session,) = [block for block in re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL) if ">>>" in block]
    example = doctest.DocTestParser().get_doctest(
        session.replace("http://localhost:8000", server.url), {}, "README.md", "README.md", 0
    )
    assert doctest.DocTestRunner().run(example) == (0, 2)


def test_the_caption_commands_do_what_the_readme_says(
    make_app: Callable[..., Flask], server: Server, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    commands = re.findall(
        r"^\$ \.venv/bin/flask --app wsgi (caption .+)\n((?:[^$`\n].*\n)*)", README, flags=re.MULTILINE
    )
    assert len(commands) == 3
    runner = make_app().test_cli_runner()
    for command, expected in commands:
        result = runner.invoke(args=shlex.split(command.replace("http://localhost:8000", server.url)))
        assert (result.exit_code, result.stdout) == (0, expected), result.output
    lines = (folder / "captions.jsonl").read_text().splitlines()
    assert len(lines) == len(list((folder / "tests" / "assets").glob("*.png")))
    assert {json.loads(line)["model"] for line in lines} == {"embedded"}
    rows = list(csv.DictReader((folder / "captions.csv").read_text().splitlines()))
    assert [row["caption"] for row in rows] == [json.loads(line)["captions"][0] for line in lines]


def shown(default: object) -> str:
    if default is None:
        return ""
    return f"`{str(default).lower()}`" if isinstance(default, bool) else f"`{default}`"


def test_the_table_of_settings_is_the_one_of_the_code() -> None:
    rows = re.findall(rf"^\| `{PREFIX}_(\w+)` \| (.*?) \| (.*) \|$", README, flags=re.MULTILINE)
    assert rows == [(setting.name, shown(setting.default), setting.help) for setting in SETTINGS]


COUNTERPARTS = re.findall(r"^\| `[^`]+` \| `([^`]+)` \| \[[\w.]+\]\(([\w./]+)\) \|$", README, flags=re.MULTILINE)


@pytest.mark.parametrize(("line", "file"), COUNTERPARTS)
def test_each_line_that_is_set_beside_fastapi_is_in_its_file(line: str, file: str) -> None:
    assert line in (ROOT / file).read_text()


def test_the_table_beside_fastapi_is_found() -> None:
    section = README.partition("## Coming from FastAPI")[2].partition("\n## ")[0]
    assert len(COUNTERPARTS) == len(re.findall(r"^\| `", section, flags=re.MULTILINE)) > 10


def test_every_requirement_is_pinned() -> None:
    for file in ("requirements.txt", "tests/requirements.txt"):
        for line in (ROOT / file).read_text().splitlines():
            assert not line or line.startswith("#") or "==" in line, f"{file}: {line}"


def test_every_link_to_a_file_leads_to_one() -> None:
    for name in ("README.md", "CONTRIBUTING.md", "flaskapp/api/README.md"):
        file = ROOT / name
        for target in re.findall(r"\]\(([^)]+)\)", file.read_text()):
            assert target.startswith("http://localhost:8000/") or (file.parent / target).exists(), f"{name}: {target}"
