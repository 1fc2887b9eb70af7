"""`flask --app wsgi caption --url`"""

import json
import os
import pty
import subprocess
import termios
from collections.abc import Callable
from pathlib import Path

import pytest

from flaskapp.database import Database
from flaskapp.tokens import Tokens
from tests.cli.captioning import STAR, Run, flask_caption, log_in, ready
from tests.client.scripted import ScriptedServer, answer
from tests.conftest import ASSETS, Server


def test_a_server_gives_the_same_captions_and_counts_as_another_model(
    run: Run, server: Server, folder: Path, tmp_path: Path
) -> None:
    (folder / "broken.png").write_bytes((ASSETS / "star.png").read_bytes()[:3000])
    local = run(folder, "--json", "--manifest", tmp_path / "manifest", "--num-beams", 4)
    remote = run(folder, "--json", "--manifest", tmp_path / "manifest", "--num-beams", 4, "--url", server.url + "/")
    assert remote.exit_code == local.exit_code == 1
    assert remote.stdout == local.stdout
    assert remote.stderr.splitlines() == [
        f"{folder}/broken.png: 422: multipart.data.0: The png image is broken or cut short.",
        "2 captioned, 1 failed",
    ]
    again = run(folder, "--json", "--manifest", tmp_path / "manifest", "--num-beams", 4, "--url", server.url)
    assert again.stderr.endswith("2 done before, 1 failed\n")


def test_a_password_for_the_server_is_read_from_a_pipe(
    run: Run, start_server: Callable[..., Server], folder: Path, tmp_path: Path
) -> None:
    server = start_server("--workers", "1", FLASKAPP_REQUIRE_LOGIN="true", FLASKAPP_REGISTRATION="open")
    run_remote = [folder, "--url", server.url, "--manifest", tmp_path / "manifest"]
    refusal = "Error: 401: log in with a saved username and its password, or with an API token\n"
    assert run(*run_remote).stderr == refusal
    log_in(server, "ada", "canary")
    assert run(*run_remote, "--username", "ada", password="wrong\n").exit_code == 1
    result = run(*run_remote, "--username", "ada", password="canary\n")
    assert result.exit_code == 0, result.stderr
    assert "canary" not in result.output + (tmp_path / "manifest").read_text()


def test_an_api_token_for_the_server_is_read_from_a_pipe(
    run: Run, start_server: Callable[..., Server], folder: Path, tmp_path: Path
) -> None:
    url = f"sqlite:///{tmp_path / 'server.db'}"
    server = start_server("--workers", "1", FLASKAPP_REQUIRE_LOGIN="true", FLASKAPP_DATABASE_URL=url)
    database = Database(url)
    token = Tokens(database).create("ci")
    database.close()
    run_remote = [folder, "--url", server.url, "--token", "--manifest", tmp_path / "manifest"]
    wrong = run(*run_remote, password="wrong\n")
    assert "401: the API token is unknown, revoked or expired" in wrong.stderr
    result = run(*run_remote, password=f"{token}\n")
    assert result.exit_code == 0, result.stderr
    assert token not in result.output + (tmp_path / "manifest").read_text()
    odd = run(*run_remote, password="canary 🔑\n")
    assert odd.exit_code == 2
    assert "--token: the token must be ASCII without spaces" in odd.stderr
    assert "canary" not in odd.stderr


def test_refused_settings_or_a_stopped_server_end_the_command(run: Run, folder: Path) -> None:
    refused = answer(422, {"code": 422, "status": "x", "errors": {"multipart": {"config": {"num_beams": ["No."]}}}})
    with ScriptedServer([ready("m"), refused]) as other:
        result = run(folder, "--url", other.url, "--num-beams", 4)
    assert (result.exit_code, result.stderr) == (1, "Error: 422: multipart.config.num_beams: No.\n")
    assert len(other.asked) <= 3
    result = run(folder, "--url", other.url)
    assert result.exit_code == 1
    assert result.stderr.endswith(f"Error: {other.url} cannot be reached: Connection refused\n")


@pytest.mark.parametrize(
    "odd",
    [
        answer(422, {"code": 422, "status": "x", "errors": "no", "message": "broken"}),
        answer(422, {"code": 422, "status": "x", "errors": {"multipart": None}, "message": "broken"}),
        answer(200, {"model": "m", "results": []}),
        answer(200, {"model": "m", "results": [{"input": "x", "captions": []}]}),
    ],
)
def test_an_odd_answer_fails_one_image(run: Run, odd: bytes) -> None:
    with ScriptedServer([ready("m"), odd]) as other:
        result = run(ASSETS / "star.png", "--url", other.url)
    assert result.exit_code == 1
    assert result.stderr.endswith("1 failed\n")
    assert "422: broken" in result.stderr or "is not one of flaskapp's" in result.stderr


def test_a_terminal_shows_a_progress_bar_and_one_password_prompt(
    server: Server,
) -> None:
    log_in(server, "caption-ada", "canary")
    here, there = pty.openpty()
    termios.tcsetwinsize(there, (24, 80))
    process = flask_caption(
        ASSETS, "--url", server.url, "--username", "caption-ada",
        stdin=there, stdout=subprocess.PIPE, stderr=there, start_new_session=True,
    )  # fmt: skip
    os.close(there)
    shown = b""
    while not shown.endswith(b"Password: "):
        shown += os.read(here, 1000)
    os.write(here, b"canary\n")
    out, _ = process.communicate(timeout=60)
    while b"2 captioned" not in shown:
        shown += os.read(here, 1000)
    os.close(here)
    assert process.returncode == 0
    assert b"2/2" in shown
    assert b"canary" not in shown
    assert out.splitlines()[1] == f"{ASSETS}/star.png: {STAR}".encode()


def test_scores_and_prompts_are_passed_to_the_server(run: Run, server: Server) -> None:
    options = ["--json", "--scores", "--num-beams", 1]
    local = json.loads(run(ASSETS / "star.png", *options).stdout)
    remote = json.loads(run(ASSETS / "star.png", *options, "--url", server.url).stdout)
    assert remote.pop("scores")[0] == pytest.approx(local.pop("scores")[0], rel=1e-4)
    assert remote == local
    result = run(ASSETS, "--prompt", "a photograph of", "--url", server.url)
    assert result.stderr == "Error: 422: multipart.config.prompt: This model takes no text.\n"


def test_the_warning_of_a_server_with_a_substitute_is_printed_once(run: Run) -> None:
    state = {"model": {"name": "embedded", "message": "a substitute", "ready": True}}
    captions = {"model": "embedded", "results": [{"input": "x", "captions": ["a star"]}], "warning": "a substitute"}
    with ScriptedServer([answer(200, state), answer(200, captions)]) as other:
        result = run(ASSETS, "--url", other.url)
    assert result.exit_code == 0
    assert result.stderr.splitlines() == ["Warning: a substitute", "2 captioned"]


def test_changed_defaults_of_a_server_recaption_files_in_the_manifest(run: Run, tmp_path: Path) -> None:
    captions = answer(200, {"model": "m", "results": [{"input": "x", "captions": ["a star"]}]})

    def state(beams: int) -> bytes:
        model = {"name": "m", "message": "OK", "ready": True, "defaults": {"num_beams": beams}}
        return answer(200, {"model": model})

    arguments = [ASSETS / "star.png", "--manifest", tmp_path / "manifest", "--url"]
    with ScriptedServer([state(8), captions, state(8), state(4), captions]) as other:
        summaries = [run(*arguments, other.url).stderr for _ in range(3)]
    assert summaries == ["1 captioned\n", "1 done before\n", "1 captioned\n"]
