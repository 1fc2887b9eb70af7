"""The output files of `flask --app wsgi caption`, and reruns with a manifest."""

import os
import re
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from flask import Flask

from flaskapp.captioner import Configuration, captioner
from flaskapp.captioner.checkpoints.hub import EMBEDDED_FOLDER
from tests.cli.captioning import STAR, Run, entries, flask_caption, ready
from tests.client.scripted import ScriptedServer, answer
from tests.conftest import ASSETS


def test_a_rerun_skips_files_in_the_manifest(run: Run, folder: Path, tmp_path: Path) -> None:
    output = tmp_path / "captions.csv"
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    assert run(folder, "--csv", "--output", output).exit_code == 1
    first = output.read_text()
    shutil.copy(ASSETS / "star.png", folder / "broken.png")  # repair the broken image
    shutil.copy(ASSETS / "star.png", folder / "a" / "both.jpg")  # replace the image
    result = run(folder, "--csv", "--output", output)
    assert result.exit_code == 0
    assert result.stderr.endswith("2 captioned, 1 done before\n")
    assert output.read_text() == (
        f"input,model,caption\n{folder}/broken.png,embedded,{STAR}\n"
        f"{folder}/star.PNG,embedded,{STAR}\n{folder}/a/both.jpg,embedded,{STAR}\n"
    )
    assert output.read_text() != first
    assert run(folder, "--csv", "--output", output).stderr.endswith("3 done before\n")


def test_other_settings_or_another_precision_recaption_files_in_the_manifest(
    run: Run, make_app: Callable[..., Flask], folder: Path, tmp_path: Path
) -> None:
    def done(run: Run, *options: object) -> str:
        return run(folder, "--manifest", tmp_path / "manifest", *options).stderr.splitlines()[-1]

    assert done(run) == "2 captioned"
    assert done(run, "--num-beams", 2) == "2 captioned"
    assert done(run, "--num-beams", 8) == "2 done before", "the explicit default equals the implicit one"
    runner = make_app(CAPTIONER_PRECISION="int8").test_cli_runner()
    result = runner.invoke(args=["caption", str(folder), "--manifest", str(tmp_path / "manifest")])
    assert result.stderr.endswith("2 captioned\n")


def test_another_model_with_the_same_name_recaptions_files_in_the_manifest(
    make_app: Callable[..., Flask], folder: Path, tmp_path: Path
) -> None:
    def done(model: Path) -> str:
        runner = make_app(CAPTIONER_MODEL=str(model)).test_cli_runner()
        result = runner.invoke(args=["caption", str(folder), "--manifest", str(tmp_path / "manifest")])
        return result.stderr.splitlines()[-1]

    first, second = (shutil.copytree(EMBEDDED_FOLDER, tmp_path / name / "model") for name in ("one", "two"))
    assert done(first) == "2 captioned"
    assert done(first) == "2 done before"
    assert done(second) == "2 captioned"
    captioner.configure(Configuration())  # otherwise the loaded model stays
    (first / "model.safetensors").touch()
    assert done(first) == "2 captioned"


def test_another_model_of_a_server_recaptions_files_in_the_manifest(run: Run, folder: Path, tmp_path: Path) -> None:
    captions = answer(200, {"model": "m", "results": [{"input": "x", "captions": ["a star"]}]})
    for model in ("one", "two"):
        with ScriptedServer([ready(model), captions]) as other:
            address = other.url
            result = run(folder / "star.PNG", "--url", other.url, "--manifest", tmp_path / "manifest")
        assert result.stderr == "1 captioned\n"
    recipes = [entry["recipe"] for entry in entries(tmp_path / "manifest")]
    assert [recipe["model"] for recipe in recipes] == ["one", "two"]  # type: ignore[index]
    assert recipes[1]["server"] == address  # type: ignore[index]


def test_a_manifest_with_a_truncated_line_is_continued(run: Run, folder: Path, tmp_path: Path) -> None:
    manifest = tmp_path / "manifest"
    run(folder, "--manifest", manifest)
    whole = manifest.read_text()
    manifest.write_text(whole[:-20])
    assert run(folder, "--manifest", manifest).stderr.endswith("1 captioned, 1 done before\n")
    assert manifest.read_text().startswith(whole[:-20] + "\n{"), "existing lines are kept"
    assert run(folder, "--manifest", manifest).stderr.endswith("2 done before\n")


def test_a_manifest_is_not_written_over_another_file(run: Run, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "list.manifest").write_text("of mine\n")
    (tmp_path / "list").write_text("of mine as well\n")
    assert run(folder, "--output", tmp_path / "list").exit_code == 2
    assert (tmp_path / "list.manifest").read_text() == "of mine\n"
    assert (tmp_path / "list").read_text() == "of mine as well\n"


@pytest.mark.parametrize("option", ["--output", "--manifest"])
def test_an_unwritable_file_is_named(run: Run, folder: Path, tmp_path: Path, option: str) -> None:
    result = run(folder, option, tmp_path / "nowhere" / "x")
    assert (result.exit_code, result.stdout) == (1, "")
    assert re.search(r"Error: .*/nowhere/x(\.manifest)?: No such file or directory\n$", result.stderr)


def test_a_full_disk_ends_the_command_with_an_error(folder: Path) -> None:
    with flask_caption(folder, "--output", "/dev/full", "--manifest", os.devnull, stderr=subprocess.PIPE) as process:
        _, complaint = process.communicate(timeout=60)
    assert process.returncode == 1
    assert complaint.endswith(b"No space left on device\n")
    assert b"Traceback" not in complaint


def test_after_ctrl_c_the_next_run_continues_the_manifest(tmp_path: Path) -> None:
    (tmp_path / "many").mkdir()
    for number in range(5000):
        (tmp_path / "many" / f"{number:04}.png").hardlink_to(ASSETS / "star.png")
    output, manifest = tmp_path / "captions", tmp_path / "manifest"
    process = flask_caption(tmp_path / "many", "--manifest", manifest, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    with process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        captions, complaint = process.communicate(timeout=30)
    assert process.returncode == 130, complaint
    assert re.search(rb"interrupted: \d+ captioned\n$", complaint), complaint
    assert b"Traceback" not in complaint
    done = len(entries(manifest))
    assert 1 + len(captions.splitlines()) <= done < 5000
    for path in sorted((tmp_path / "many").iterdir())[done + 50 :]:
        path.unlink()
    again = flask_caption(tmp_path / "many", "--manifest", manifest, "--output", output, stderr=subprocess.PIPE)
    with again as process:
        _, complaint = process.communicate(timeout=60)
    assert re.search(rf", {done} done before\n$".encode(), complaint), complaint
    assert [line[-len(STAR) :] for line in output.read_text().splitlines()] == [STAR] * (done + 50)
