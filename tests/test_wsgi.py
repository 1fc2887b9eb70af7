"""Starting the application in new processes: imports, and failed starts."""

import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ASSETS, ROOT, Server, clean_environment

# Runs a command of flask and prints whether torch was imported.
RUN_FLASK = """
import sys
from flask.cli import main
sys.argv[0] = "flask"
try:
    main()
except SystemExit as end:
    print(f"exit {end.code or 0}, torch {'torch' in sys.modules or 'transformers' in sys.modules}")
"""


def run(program: list[str], folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = clean_environment() | {"FLASKAPP_DATABASE_URL": f"sqlite:///{folder / 'test.db'}"} | variables
    return subprocess.run(program, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60)


def assert_one_line(ended: subprocess.CompletedProcess[str], text: str) -> None:
    assert (ended.returncode, ended.stdout) == (1, "")
    (line,) = ended.stderr.splitlines()
    assert line in (text, f"CRITICAL flaskapp.settings: {text}")


@pytest.mark.parametrize(
    "command",
    ["gunicorn --bind 127.0.0.1:0 wsgi:app", "flask --app wsgi run --port 0", "flask --app wsgi users list",
     "celery -A flaskapp.jobs worker"],
)  # fmt: skip
def test_a_bad_setting_ends_the_start_with_one_line(command: str, tmp_path: Path) -> None:
    program, *arguments = shlex.split(command)
    ended = run([str(Path(sys.executable).with_name(program)), *arguments], tmp_path, FLASKAPP_MAX_SIDE="x")
    assert_one_line(ended, "FLASKAPP_MAX_SIDE must be a whole number from 1 to 16383, not 'x'")


def test_a_bad_setting_of_gunicorn_s_configuration_ends_the_start_with_one_line(tmp_path: Path) -> None:
    gunicorn = str(Path(sys.executable).with_name("gunicorn"))
    ended = run([gunicorn, "--bind", "127.0.0.1:0", "wsgi:app"], tmp_path, FLASKAPP_LOG_FORMAT="xml")
    assert_one_line(ended, "FLASKAPP_LOG_FORMAT must be one of text, json, not 'xml'")


@pytest.mark.parametrize(("folder", "is_warned"), [(None, True), (ROOT, False)])
def test_gunicorn_without_flaskapp_s_configuration_logs_a_warning(
    folder: Path | None, is_warned: bool, tmp_path: Path
) -> None:
    """gunicorn reads its configuration from the folder of its start, whatever its --chdir."""
    gunicorn = str(Path(sys.executable).with_name("gunicorn"))
    program = [gunicorn, "--chdir", str(ROOT), "--check-config", "wsgi:app"]
    environment = clean_environment() | {"FLASKAPP_DATABASE_URL": f"sqlite:///{tmp_path / 'test.db'}"}
    ended = subprocess.run(program, cwd=folder or tmp_path, env=environment, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 0, ended.stderr
    assert ("gunicorn runs without flaskapp's gunicorn.conf.py" in ended.stderr) == is_warned


@pytest.mark.parametrize(
    "command",
    ["gunicorn --bind 127.0.0.1:0 wsgi:app", "flask --app wsgi caption tests/assets/star.png"],
)
def test_a_precision_unsupported_by_the_device_ends_the_start(command: str, tmp_path: Path) -> None:
    program, *arguments = shlex.split(command)
    variables = {"FLASKAPP_CAPTIONER_DEVICE": "cpu", "FLASKAPP_CAPTIONER_PRECISION": "fp16"}
    ended = run([str(Path(sys.executable).with_name(program)), *arguments], tmp_path, **variables)
    assert ended.returncode == 1
    (line,) = [line for line in ended.stderr.splitlines() if "PRECISION" in line]
    assert line.endswith(": FLASKAPP_CAPTIONER_PRECISION must be one of auto, fp32, bf16, int8 on cpu, not 'fp16'")
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize("command", ["users list", "db current", "caption {star} --url {url}"])
def test_a_command_that_needs_no_model_does_not_import_torch(command: str, server: Server, tmp_path: Path) -> None:
    arguments = command.format(star=ASSETS / "star.png", url=server.url).split()
    ended = run([sys.executable, "-c", RUN_FLASK, "--app", "wsgi", *arguments], tmp_path)
    assert ended.stdout.endswith("exit 0, torch False\n"), ended.stdout + ended.stderr
