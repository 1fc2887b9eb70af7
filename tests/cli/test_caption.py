"""`flask --app wsgi caption`"""

import csv
import json
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
import termios
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from click.testing import Result
from flask import Flask

from flaskapp import images
from flaskapp.captioner import captioner
from flaskapp.captioner.checkpoint import EMBEDDED_FOLDER
from flaskapp.captioner.service import Configuration
from flaskapp.cli import captioners
from flaskapp.client import Client
from flaskapp.images import EncodedImage, Picture
from flaskapp.turns import Turns
from tests.client.scripted import ScriptedServer, answer
from tests.conftest import ASSETS, ROOT, Server, clean_environment
from tests.photograph import photograph

STAR = "a large pink star on a yellow background"
CIRCLE_AND_DIAMOND = "a large red circle left of a small black diamond on a pink background"
Run = Callable[..., Result]


@pytest.fixture
def app(make_app: Callable[..., Flask]) -> Flask:
    return make_app()


@pytest.fixture
def run(app: Flask) -> Run:
    def run(*arguments: object, password: str = "") -> Result:
        result = app.test_cli_runner().invoke(args=["caption", *map(str, arguments)], input=password)
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exc_info
        return result

    return run


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two images, one of them further in, and what is none."""
    folder = tmp_path / "images"
    (folder / "a" / ".hidden").mkdir(parents=True)
    shutil.copy(ASSETS / "star.png", folder / "star.PNG")
    shutil.copy(ASSETS / "circle_and_diamond.png", folder / "a" / "both.jpg")  # the content decides its format
    for name in ("notes.txt", ".star.png", "a/.hidden/star.png"):
        (folder / name).write_text("not an image")
    return folder


def flask_caption(*arguments: object, **pipes: object) -> subprocess.Popen[bytes]:
    environment = clean_environment() | {"FLASKAPP_CAPTIONER_MODEL": "embedded"}
    flask = Path(sys.executable).with_name("flask")
    command = [flask, "--app", "wsgi", "caption", *map(str, arguments)]
    return subprocess.Popen(command, cwd=ROOT, env=environment, **pipes)  # type: ignore[call-overload, no-any-return]


def entries(manifest: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in manifest.read_text().splitlines()[1:]]


def test_files_and_folders_are_captioned_in_the_order_of_their_names(run: Run, folder: Path) -> None:
    result = run(ASSETS / "circle_and_diamond.png", folder)
    assert result.exit_code == 0
    assert result.stdout == (
        f"{ASSETS}/circle_and_diamond.png: {CIRCLE_AND_DIAMOND}\n"
        f"{folder}/star.PNG: {STAR}\n"
        f"{folder}/a/both.jpg: {CIRCLE_AND_DIAMOND}\n"
    )
    assert result.stderr.endswith("3 captioned\n")


def test_a_program_can_read_the_output(run: Run, folder: Path) -> None:
    path = folder / "star.PNG"
    lines = run("--json", path, "--num-return-sequences", 2).stdout.splitlines()
    (image,) = map(json.loads, lines)
    assert (image["input"], image["model"], image["captions"][0]) == (str(path), "embedded", STAR)
    assert len(image["captions"]) == 2
    titles, cells = csv.reader(run("--csv", path, "--num-return-sequences", 2).stdout.splitlines())
    assert titles == ["input", "model", "caption", "caption_2"]
    assert cells == [str(path), "embedded", *image["captions"]]


def test_captions_have_the_words_of_the_server(run: Run, app: Flask, folder: Path) -> None:
    config = {"max_length": 5, "num_beams": 1, "early_stopping": "never", "do_sample": True, "seed": 7, "top_p": 0.5}
    options = [f"--{name.replace('_', '-')}={value}" for name, value in config.items() if value is not True]
    with (folder / "star.PNG").open("rb") as file:
        response = app.test_client().post("/caption/", data={"data": file, "config": json.dumps(config)})
    assert run(folder / "star.PNG", *options, "--do-sample").stdout.endswith(f": {response.json['caption']}\n")


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--num-beams", "0"], "--num-beams: Must be greater than or equal to 1"),
        (["--num-beams", "many"], "--num-beams: Not a valid integer."),
        (["--top-p", "2"], "--top-p: Must be "),
        (["--num-return-sequences", "9"], "--num-return-sequences: Must not be more than num_beams"),
        (["--early-stopping", "perhaps"], "--early-stopping: Must be true, false"),
        (["--username", "ada"], "--username is for --url"),
        (["--url", "localhost:8000"], "--url: the url must be that of a server, such as http://localhost:8000"),
        (["--url", "http://ada:canary@localhost"], "--url: a login is given by --username"),
        (["--url", "http://["], "--url: the url must be that of a server, such as http://localhost:8000"),
        (["--url", "http://ada:canary℀@localhost"], "--url: the url must be that of a server, such as http://"),
        (["--output", "x", "--manifest", "x"], "--manifest must be another file than --output"),
        (["--output", "x", "--manifest", "../x_here/x"], "--manifest must be another file than --output"),
        (["--output", "x", "--manifest", ASSETS / "star.png"], "star.png: it is not a list of captions"),
    ],
)
def test_an_option_that_cannot_be_obeyed_is_named(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, options: list[str], complaint: str
) -> None:
    (tmp_path / "x_here").mkdir()
    monkeypatch.chdir(tmp_path / "x_here")
    before = (ASSETS / "star.png").read_bytes()
    result = run(ASSETS, *options)
    assert result.exit_code == 2
    assert complaint in result.stderr
    assert "canary" not in result.output
    assert list((tmp_path / "x_here").iterdir()) == []
    assert (ASSETS / "star.png").read_bytes() == before


def test_a_setting_beyond_the_model_is_named(run: Run) -> None:
    result = run(ASSETS, "--max-length", 65)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.endswith("Error: --max-length: Must not be more than 64, the positions of this model.\n")


def test_without_a_model_nothing_is_tried(make_app: Callable[..., Flask], tmp_path: Path) -> None:
    runner = make_app(CAPTIONER_MODEL=str(tmp_path / "nothing")).test_cli_runner()
    result = runner.invoke(args=["caption", str(ASSETS)])
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.endswith("Error: there is no captioning model: it could not be loaded\n")


def test_what_cannot_be_captioned_is_reported_and_the_rest_goes_on(
    make_app: Callable[..., Flask], folder: Path
) -> None:
    (folder / "broken.png").write_bytes((ASSETS / "star.png").read_bytes()[:3000])
    (folder / "none.jpg").write_text("text")
    (folder / "gone.png").symlink_to(folder / "nowhere")
    (folder / "fat.png").write_bytes((ASSETS / "star.png").read_bytes() + bytes(2**20))
    photograph(1100, 1000).save(folder / "wide.jpg")
    runner = make_app(MAX_UPLOAD_MB=1, MAX_MEGAPIXELS=1).test_cli_runner()
    result = runner.invoke(args=["caption", str(folder), str(folder / "notes.txt"), str(folder / "missing.png")])
    assert result.exit_code == 1
    assert result.stdout == f"{folder}/star.PNG: {STAR}\n{folder}/a/both.jpg: {CIRCLE_AND_DIAMOND}\n"
    unknown = "this is not an image that can be read here: send JPEG, PNG, WebP, GIF or BMP"
    assert result.stderr.splitlines()[-8:] == [
        f"{folder}/broken.png: the png image is broken or cut short",
        f"{folder}/fat.png: the file has more than 1 MiB",
        f"{folder}/gone.png: No such file or directory",
        f"{folder}/none.jpg: {unknown}",
        f"{folder}/wide.jpg: the image has more than 1 megapixels",
        f"{folder}/notes.txt: {unknown}",
        f"{folder}/missing.png: No such file or directory",
        "2 captioned, 7 failed",
    ]


def test_a_folder_without_images_is_no_error(run: Run, tmp_path: Path) -> None:
    result = run(tmp_path)
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr.endswith("no images\n")


def test_a_name_does_to_the_terminal_nothing_and_comes_whole_out_of_csv(run: Run, folder: Path) -> None:
    name = b"\x1b[2J\xff.png".decode(errors="surrogateescape")
    shutil.copy(folder / "star.PNG", folder / name)
    assert run(folder / name).stdout == f"{str(folder / name)!a}: {STAR}\n"
    assert os.fsencode(folder / name) in run(folder / name, "--csv").stdout_bytes
    (image,) = map(json.loads, run(folder / name, "--json").stdout.splitlines())
    assert image["input"] == str(folder / name)


def test_a_second_run_takes_what_is_done_from_the_manifest(run: Run, folder: Path, tmp_path: Path) -> None:
    output = tmp_path / "captions.csv"
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    assert run(folder, "--csv", "--output", output).exit_code == 1
    first = output.read_text()
    shutil.copy(ASSETS / "star.png", folder / "broken.png")  # is repaired
    shutil.copy(ASSETS / "star.png", folder / "a" / "both.jpg")  # is another image
    result = run(folder, "--csv", "--output", output)
    assert result.exit_code == 0
    assert result.stderr.endswith("2 captioned, 1 done before\n")
    assert output.read_text() == (
        f"input,model,caption\n{folder}/broken.png,embedded,{STAR}\n"
        f"{folder}/star.PNG,embedded,{STAR}\n{folder}/a/both.jpg,embedded,{STAR}\n"
    )
    assert output.read_text() != first
    assert run(folder, "--csv", "--output", output).stderr.endswith("3 done before\n")


def test_other_settings_or_another_precision_are_other_captions(
    run: Run, make_app: Callable[..., Flask], folder: Path, tmp_path: Path
) -> None:
    def done(run: Run, *options: object) -> str:
        return run(folder, "--manifest", tmp_path / "manifest", *options).stderr.splitlines()[-1]

    assert done(run) == "2 captioned"
    assert done(run, "--num-beams", 2) == "2 captioned"
    assert done(run, "--num-beams", 8) == "2 done before", "the default, said aloud"
    runner = make_app(CAPTIONER_PRECISION="int8").test_cli_runner()
    result = runner.invoke(args=["caption", str(folder), "--manifest", str(tmp_path / "manifest")])
    assert result.stderr.endswith("2 captioned\n")


def test_another_model_of_the_same_name_is_another_model(
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
    captioner.configure(Configuration())  # what is loaded stays loaded otherwise
    (first / "model.safetensors").touch()
    assert done(first) == "2 captioned"


def test_another_model_of_a_server_is_another_model(run: Run, folder: Path, tmp_path: Path) -> None:
    captions = answer(200, {"model": "m", "results": [{"input": "x", "captions": ["a star"]}]})
    for model in ("one", "two"):
        with ScriptedServer([ready(model), captions]) as other:
            address = other.url
            result = run(folder / "star.PNG", "--url", other.url, "--manifest", tmp_path / "manifest")
        assert result.stderr == "1 captioned\n"
    recipes = [entry["recipe"] for entry in entries(tmp_path / "manifest")]
    assert [recipe["model"] for recipe in recipes] == ["one", "two"]  # type: ignore[index]
    assert recipes[1]["server"] == address  # type: ignore[index]


def ready(model: str) -> bytes:
    return answer(200, {"model": {"name": model, "message": "OK", "ready": True}})


def test_a_manifest_with_lines_that_were_cut_short_is_used_and_continued(
    run: Run, folder: Path, tmp_path: Path
) -> None:
    manifest = tmp_path / "manifest"
    run(folder, "--manifest", manifest)
    whole = manifest.read_text()
    manifest.write_text(whole[:-20])
    assert run(folder, "--manifest", manifest).stderr.endswith("1 captioned, 1 done before\n")
    assert manifest.read_text().startswith(whole[:-20] + "\n{"), "what is there stays"
    assert run(folder, "--manifest", manifest).stderr.endswith("2 done before\n")


def test_a_manifest_is_not_written_over_another_file(run: Run, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "list.manifest").write_text("of mine\n")
    (tmp_path / "list").write_text("of mine as well\n")
    assert run(folder, "--output", tmp_path / "list").exit_code == 2
    assert (tmp_path / "list.manifest").read_text() == "of mine\n"
    assert (tmp_path / "list").read_text() == "of mine as well\n"


@pytest.mark.parametrize("option", ["--output", "--manifest"])
def test_a_file_that_cannot_be_written_is_named(run: Run, folder: Path, tmp_path: Path, option: str) -> None:
    result = run(folder, option, tmp_path / "nowhere" / "x")
    assert (result.exit_code, result.stdout) == (1, "")
    assert re.search(r"Error: .*/nowhere/x(\.manifest)?: No such file or directory\n$", result.stderr)


def test_a_full_disk_ends_it(folder: Path) -> None:
    with flask_caption(folder, "--output", "/dev/full", "--manifest", os.devnull, stderr=subprocess.PIPE) as process:
        _, complaint = process.communicate(timeout=60)
    assert process.returncode == 1
    assert complaint.endswith(b"No space left on device\n")
    assert b"Traceback" not in complaint


def test_few_images_are_decoded_at_once_and_few_are_looked_for_ahead(
    make_app: Callable[..., Flask], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Of a folder of many images. All of them are one file, by many names."""
    (tmp_path / "many").mkdir()
    for number in range(200):
        (tmp_path / "many" / f"{number:03}.png").hardlink_to(ASSETS / "star.png")
    shutil.copy(ASSETS / "star.png", tmp_path / "star.png")
    decoded = EncodedImage.decoded
    lock, now, most = threading.Lock(), 0, 0

    @contextmanager
    def counted(self: EncodedImage, for_side: int | None = None, *, patient: bool = False) -> Iterator[Picture]:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        try:
            with decoded(self, for_side, patient=patient) as picture:
                yield picture
        finally:
            with lock:
                now -= 1

    monkeypatch.setattr(EncodedImage, "decoded", counted)
    app = make_app(CAPTIONER_MAX_BATCH=4)
    result = app.test_cli_runner().invoke(args=["caption", str(tmp_path / "many")])
    assert result.exit_code == 0
    assert result.stdout.count(STAR) == 200
    assert 1 <= most <= (os.cpu_count() or 1)
    assert captioner._loaded is not None
    batcher = captioner._loaded.batcher
    assert batcher.steps_of_images / batcher.steps > 2, "images go through the model together"


def test_large_images_wait_for_their_turn_as_long_as_it_takes(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(images, "turns", Turns(1, wait=0, busy="too many large images at once"))
    monkeypatch.setattr(captioners, "usable_cores", lambda: 8)
    for number in range(32):
        (tmp_path / f"{number:02}.png").hardlink_to(ASSETS / "star.png")
    result = run(tmp_path)
    assert result.exit_code == 0, result.stderr
    assert result.stdout.count(STAR) == 32


def test_ctrl_c_leaves_a_manifest_that_the_next_run_goes_on_with(tmp_path: Path) -> None:
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


def test_a_server_captions_with_the_same_words_and_is_another_model_to_the_manifest(
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


def test_a_server_that_wants_a_login_gets_the_password_from_a_pipe(
    run: Run, start_server: Callable[..., Server], folder: Path, tmp_path: Path
) -> None:
    server = start_server("--workers", "1", FLASKAPP_REQUIRE_LOGIN="true", FLASKAPP_REGISTRATION="open")
    run_remote = [folder, "--url", server.url, "--manifest", tmp_path / "manifest"]
    assert run(*run_remote).stderr == "Error: 401: log in with a saved username and its password\n"
    log_in(server, "ada", "canary")
    assert run(*run_remote, "--username", "ada", password="wrong\n").exit_code == 1
    result = run(*run_remote, "--username", "ada", password="canary\n")
    assert result.exit_code == 0, result.stderr
    assert "canary" not in result.output + (tmp_path / "manifest").read_text()


def log_in(server: Server, username: str, password: str) -> None:
    with Client(server.url) as client:
        assert client.login(username, password) == "login saved"


def test_a_server_that_refuses_the_settings_or_goes_away_is_not_asked_for_every_image(run: Run, folder: Path) -> None:
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
def test_an_odd_answer_is_the_failure_of_an_image(run: Run, odd: bytes) -> None:
    with ScriptedServer([ready("m"), odd]) as other:
        result = run(ASSETS / "star.png", "--url", other.url)
    assert result.exit_code == 1
    assert result.stderr.endswith("1 failed\n")
    assert "422: broken" in result.stderr or "is not one of flaskapp's" in result.stderr


def test_at_a_terminal_a_bar_shows_the_progress_and_the_password_is_asked_for_once(
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
