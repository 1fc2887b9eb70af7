"""`flask --app wsgi caption --job`"""

import json
import os
import pty
import re
import shutil
import signal
import subprocess
import termios
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from flaskapp.cli import job_captioner
from tests.cli.captioning import CIRCLE_AND_DIAMOND, STAR, Run, entries, flask_caption, ready
from tests.client.scripted import ScriptedServer, answer
from tests.conftest import ASSETS, Server

UNKNOWN = "this is not an image that can be read here: send JPEG, PNG, WebP, GIF, BMP, TIFF, HEIC or AVIF"


def test_jobs_give_the_same_lines_and_manifest_as_requests(
    run: Run, server: Server, folder: Path, tmp_path: Path
) -> None:
    (folder / "none.jpg").write_text("text")
    arguments = [folder, folder / "missing.png", "--url", server.url, "--json", "--manifest", tmp_path / "manifest"]
    by_job = run(*arguments, "--job", "--num-beams", 4)
    assert by_job.exit_code == 1
    assert by_job.stderr.splitlines() == [
        f"{folder}/none.jpg: {UNKNOWN}",
        f"{folder}/missing.png: No such file or directory",
        "2 captioned, 2 failed",
    ]
    again = run(*arguments, "--num-beams", 4)
    assert again.stdout == by_job.stdout
    assert again.stderr.endswith("2 done before, 2 failed\n")
    assert [json.loads(line)["captions"] for line in by_job.stdout.splitlines()] == [[STAR], [CIRCLE_AND_DIAMOND]]
    assert run(*arguments, "--job", "--num-beams", 4).stderr.endswith("2 done before, 2 failed\n")


def test_many_files_become_several_jobs_in_order(
    run: Run, server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(job_captioner, "MAX_IMAGES", 4)
    names = ["star.png", "circle_and_diamond.png"] * 5
    for number, name in enumerate(names):
        shutil.copy(ASSETS / name, tmp_path / f"{number:02}.png")
    result = run(tmp_path, "--url", server.url, "--job")
    assert result.exit_code == 0, result.stderr
    assert [line.split(": ")[1] for line in result.stdout.splitlines()] == [STAR, CIRCLE_AND_DIAMOND] * 5


def test_jobs_fit_a_server_with_smaller_limits(run: Run, start_server: Callable[..., Server], tmp_path: Path) -> None:
    server = start_server("--workers", "1", FLASKAPP_MAX_JOB_IMAGES="3", FLASKAPP_MAX_UPLOAD_MB="1")
    for number in range(8):
        shutil.copy(ASSETS / "star.png", tmp_path / f"{number}.png")
    (tmp_path / "3.png").write_bytes((ASSETS / "star.png").read_bytes() + bytes(2**20))
    result = run(tmp_path, "--url", server.url, "--job")
    assert result.exit_code == 1
    assert result.stdout.count(STAR) == 7
    assert re.search(r"/3\.png: 413: .*\n7 captioned, 1 failed\n$", result.stderr)


@pytest.mark.parametrize(
    ("answers", "reason"),
    [
        ([answer(503, {"code": 503, "status": "x", "message": "no broker"}, Retry_After="60")], "503: no broker"),
        ([answer(422, {"code": 422, "status": "x", "message": "no"})], "422: no"),
        ([answer(202, {"hello": "world"})], "is not one of flaskapp's"),
    ],
)
def test_a_refused_job_fails_its_images(run: Run, answers: list[bytes], reason: str) -> None:
    with ScriptedServer([ready("m"), *answers]) as other:
        result = run(ASSETS, "--url", other.url, "--job")
    assert result.exit_code == 1
    assert result.stderr.count(reason) == 2
    assert result.stderr.endswith("2 failed\n")


def test_refused_settings_end_the_command_and_job_needs_url(run: Run) -> None:
    refused = answer(422, {"code": 422, "status": "x", "errors": {"multipart": {"config": {"num_beams": ["No."]}}}})
    with ScriptedServer([ready("m"), refused]) as other:
        result = run(ASSETS, "--url", other.url, "--job")
    assert (result.exit_code, result.stderr) == (1, "Error: 422: multipart.config.num_beams: No.\n")
    assert len(other.asked) == 2
    result = run(ASSETS, "--job")
    assert result.exit_code == 2
    assert "--job is for --url" in result.stderr


def test_one_progress_bar_shows_all_jobs_and_ctrl_c_cancels_them(
    start_server: Callable[..., Server], tmp_path: Path
) -> None:
    database = f"sqlite:///{tmp_path / 'jobs.db'}"
    server = start_server("--workers", "1", FLASKAPP_DATABASE_URL=database)
    (tmp_path / "many").mkdir()
    for number in range(1000):
        (tmp_path / "many" / f"{number:03}.png").hardlink_to(ASSETS / "star.png")
    manifest = tmp_path / "manifest"
    here, there = pty.openpty()
    termios.tcsetwinsize(there, (24, 80))
    process = flask_caption(
        tmp_path / "many", "--url", server.url, "--job", "--manifest", manifest, "--num-beams", 1,
        stdout=subprocess.PIPE, stderr=there, start_new_session=True,
    )  # fmt: skip
    os.close(there)
    shown = b""
    while not re.search(rb"[1-9]\d*/1000", shown):
        shown += os.read(here, 1000)
    process.send_signal(signal.SIGINT)
    while not re.search(rb"interrupted: (no images|\d+ captioned)", shown):
        shown += os.read(here, 1000)
    process.communicate(timeout=60)
    os.close(here)
    assert process.returncode == 130
    assert b"Traceback" not in shown
    engine = create_engine(database)
    with engine.connect() as connection:
        states = connection.execute(text("SELECT state FROM caption_jobs")).scalars().all()
        done = connection.execute(text("SELECT count(*) FROM caption_job_images WHERE captions IS NOT NULL")).scalar()
    engine.dispose()
    assert set(states) <= {"done", "cancelled"}
    assert "cancelled" in states
    assert 0 < len(entries(manifest)) <= (done or 0) < 1000
