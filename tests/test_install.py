"""The package built by `pip install ./flaskapp`, and the program `flaskapp`."""

import re
import shutil
import signal
import subprocess
import sys
import zipfile
from collections.abc import Callable
from email.parser import Parser
from pathlib import Path

import pytest
import requests
from flask import Flask
from flask.testing import FlaskClient

import flaskapp
from tests.conftest import ROOT, Server, clean_environment, skip_unless_ci

FOR_PACKAGING = {"flaskapp/setup.py", "flaskapp/pyproject.toml"}
BUILD = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir"]


def tracked() -> set[str]:
    """Return the package's files in git."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "flaskapp"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if listed.returncode:
        skip_unless_ci("this is no git checkout")
    return {name for name in listed.stdout.splitlines() if (ROOT / name).exists()}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """Build the wheel from a copy, because a build leaves and reuses files beside its sources."""
    source, built = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("built")
    for name in tracked() | {"setup.cfg", "requirements.txt", "README.md", "LICENSE"}:
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, source / name)
    build = subprocess.run([*BUILD, built, source / "flaskapp"], capture_output=True, text=True, timeout=240)
    assert build.returncode == 0, build.stdout + build.stderr
    (file,) = built.glob("*.whl")
    return zipfile.ZipFile(file)


@pytest.fixture(scope="module")
def site(wheel: zipfile.ZipFile, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the installed package."""
    folder = tmp_path_factory.mktemp("site")
    wheel.extractall(folder)
    return folder


def run(site: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run the installed program outside of the checkout."""
    environment = clean_environment() | {
        "PYTHONPATH": str(site),
        "FLASKAPP_CAPTIONER_MODEL": "embedded",
        "FLASKAPP_DATABASE_URL": f"sqlite:///{site.parent / 'installed.db'}",
    }
    command = [sys.executable, "-m", "flaskapp", *arguments]
    return subprocess.run(
        command, cwd=site, env=environment | variables, capture_output=True, text=True, timeout=120, check=False
    )


def metadata(wheel: zipfile.ZipFile) -> tuple[dict[str, str], list[str]]:
    """Return the metadata's fields and the requirements."""
    parsed = Parser().parsestr(wheel.read(f"flaskapp-{flaskapp.__version__}.dist-info/METADATA").decode())
    return dict(parsed.items()), parsed.get_all("Requires-Dist", [])


def test_the_wheel_has_every_file_of_the_package(wheel: zipfile.ZipFile) -> None:
    built = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert built == tracked() - FOR_PACKAGING


def test_the_wheel_has_the_version_the_license_and_the_pinned_requirements(wheel: zipfile.ZipFile) -> None:
    fields, required = metadata(wheel)
    assert (fields["Name"], fields["Version"]) == ("flaskapp", flaskapp.__version__)
    assert "MIT" in (fields.get("License"), fields.get("License-Expression"))
    assert fields["Requires-Python"] == ">=3.11"
    pins = re.findall(r"^([^#\s]+==[^#\s]+)", (ROOT / "requirements.txt").read_text(), flags=re.MULTILINE)
    assert sorted(required) == sorted(pins)


def test_the_program_lists_serve_and_the_application_s_commands(site: Path, make_app: Callable[..., Flask]) -> None:
    printed = run(site, "--help")
    assert printed.returncode == 0, printed.stderr
    listed = printed.stdout.partition("Commands:")[2]
    for name in ("serve", "db", *make_app().cli.commands):
        assert re.search(rf"^  {name} ", listed, flags=re.MULTILINE), name
    assert "--app" not in printed.stdout


def test_the_program_prints_its_version(site: Path) -> None:
    assert run(site, "--version").stdout == f"flaskapp, version {flaskapp.__version__}\n"


def test_serve_accepts_only_options_of_gunicorn(site: Path) -> None:
    printed = run(site, "serve", "--help")
    assert printed.stdout.startswith("usage: flaskapp serve [OPTIONS]")
    assert "--bind" in printed.stdout
    refused = run(site, "serve", "other:app")
    assert refused.returncode == 2
    assert "flaskapp serve: error: unrecognized arguments: other:app" in refused.stderr


def test_serve_finds_its_configuration_and_its_application_in_the_package(site: Path) -> None:
    checked = run(site, "serve", "--check-config", "--print-config")
    assert checked.returncode == 0, checked.stderr
    assert re.search(r"^worker_connections\s+= 800$", checked.stdout, flags=re.MULTILINE)
    assert re.search(r"^config\s+= python:flaskapp\.serving\.gunicorn_conf$", checked.stdout, flags=re.MULTILINE)


@pytest.mark.parametrize("command", [["serve", "--check-config"], ["users", "list"]])
def test_a_bad_setting_ends_the_program_with_one_line(site: Path, command: list[str]) -> None:
    ended = run(site, *command, FLASKAPP_MAX_SIDE="x")
    assert (ended.returncode, ended.stdout) == (1, "")
    (line,) = ended.stderr.splitlines()
    assert line.endswith("FLASKAPP_MAX_SIDE must be a whole number from 1 to 16383, not 'x'")


def test_the_installed_server_captions_and_survives_a_reload(
    site: Path, start_server: Callable[..., Server], tmp_path: Path
) -> None:
    server = start_server(
        command="python -m flaskapp serve --workers 1 --bind {address}:{port}", folder=tmp_path, PYTHONPATH=str(site)
    )
    star = ROOT / "tests" / "assets" / "star.png"
    url = server.url + "/caption/"
    for times in (1, 2):
        server.wait_for("The model is ready", times=times)
        answer = requests.post(url, files={"data": star.read_bytes()}, timeout=60)
        assert answer.json()["caption"] == "a large pink star on a yellow background"
        server.process.send_signal(signal.SIGHUP)
    for path in ("/demo", "/swagger-ui", "/docs/static/redoc.js"):
        assert requests.get(server.url + path, timeout=30).status_code == 200, path


def test_the_version_is_the_same_everywhere(client: FlaskClient) -> None:
    version = flaskapp.__version__
    assert client.get("/openapi.json").get_json()["info"]["version"] == version
    assert client.get("/v2").get_json()["version"] == version
    assert f'flaskapp_build_info{{version="{version}"}} 1.0' in client.get("/metrics").text
    newest = re.search(r"^## (.+)$", (ROOT / "CHANGELOG.md").read_text(), flags=re.MULTILINE)
    assert newest is not None
    assert newest[1] == version
