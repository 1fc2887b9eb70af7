"""`flask --app wsgi caption` with the model in its own process."""

import csv
import json
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from flask import Flask

from flaskapp.captioner import captioner
from flaskapp.cli import captioners
from flaskapp.images import EncodedImage, Picture, encoded
from flaskapp.semaphore import WeightedSemaphore
from tests.captioner.prompted import write_blip
from tests.cli.captioning import CIRCLE_AND_DIAMOND, STAR, Run
from tests.conftest import ASSETS
from tests.photograph import photograph


def test_files_and_folders_are_captioned_in_name_order(run: Run, folder: Path) -> None:
    result = run(ASSETS / "circle_and_diamond.png", folder)
    assert result.exit_code == 0
    assert result.stdout == (
        f"{ASSETS}/circle_and_diamond.png: {CIRCLE_AND_DIAMOND}\n"
        f"{folder}/star.PNG: {STAR}\n"
        f"{folder}/a/both.jpg: {CIRCLE_AND_DIAMOND}\n"
    )
    assert result.stderr.endswith("3 captioned\n")


def test_json_and_csv_are_machine_readable(run: Run, folder: Path) -> None:
    path = folder / "star.PNG"
    lines = run("--json", path, "--num-return-sequences", 2).stdout.splitlines()
    (image,) = map(json.loads, lines)
    assert (image["input"], image["model"], image["captions"][0]) == (str(path), "embedded", STAR)
    assert len(image["captions"]) == 2
    titles, cells = csv.reader(run("--csv", path, "--num-return-sequences", 2).stdout.splitlines())
    assert titles == ["input", "model", "caption", "caption_2"]
    assert cells == [str(path), "embedded", *image["captions"]]


def test_captions_equal_the_server_s(run: Run, app: Flask, folder: Path) -> None:
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
        (["--early-stopping", "perhaps"], "--early-stopping: Must be true, false"),
        (["--scores"], "--scores is for --json, and not for --job"),
        (["--scores", "--csv"], "--scores is for --json, and not for --job"),
        (["--scores", "--json", "--job", "--url", "http://x"], "--scores is for --json, and not for --job"),
        (["--username", "ada"], "--username is for --url"),
        (["--url", "localhost:8000"], "--url: the url must be that of a server, such as http://localhost:8000"),
        (["--url", "http://ada:canary@localhost"], "--url: pass the login by --username"),
        (["--token"], "--token is for --url, without --username"),
        (["--url", "http://localhost", "--token", "--username", "ada"], "--token is for --url, without --username"),
        (["--url", "http://["], "--url: the url must be that of a server, such as http://localhost:8000"),
        (["--url", "http://ada:canary℀@localhost"], "--url: the url must be that of a server, such as http://"),
        (["--output", "x", "--manifest", "x"], "--manifest must be another file than --output"),
        (["--output", "x", "--manifest", "../x_here/x"], "--manifest must be another file than --output"),
        (["--output", "x", "--manifest", ASSETS / "star.png"], "star.png: it is not a list of captions"),
    ],
)
def test_an_invalid_option_is_named(
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


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--max-length", 65], "--max-length: Must not be more than 64, the positions of this model."),
        (["--max-new-tokens", 64], "--max-new-tokens: Must not be more than 63, the positions of this model."),
        (["--num-return-sequences", 9], "--num-return-sequences: Must not be more than num_beams, unless "),
        (["--min-length", 17], "--min-length: Must not be more than max_length."),
        (["--prompt", "a photograph of"], "--prompt: This model takes no text."),
    ],
)
def test_a_setting_unsupported_by_the_model_is_named(run: Run, options: list[object], complaint: str) -> None:
    result = run(ASSETS, *options)
    assert (result.exit_code, result.stdout) == (1, "")
    assert f"Error: {complaint}" in result.stderr.splitlines()[-1]


def test_without_a_model_no_image_is_tried(make_app: Callable[..., Flask], tmp_path: Path) -> None:
    runner = make_app(CAPTIONER_MODEL=str(tmp_path / "nothing")).test_cli_runner()
    result = runner.invoke(args=["caption", str(ASSETS)])
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.endswith("Error: there is no captioning model: it could not be loaded\n")


def test_a_failed_image_is_reported_and_the_others_are_captioned(make_app: Callable[..., Flask], folder: Path) -> None:
    (folder / "broken.png").write_bytes((ASSETS / "star.png").read_bytes()[:3000])
    (folder / "none.jpg").write_text("text")
    (folder / "gone.png").symlink_to(folder / "nowhere")
    (folder / "fat.png").write_bytes((ASSETS / "star.png").read_bytes() + bytes(2**20))
    photograph(1100, 1000).save(folder / "wide.jpg")
    runner = make_app(MAX_UPLOAD_MB=1, MAX_MEGAPIXELS=1).test_cli_runner()
    result = runner.invoke(args=["caption", str(folder), str(folder / "notes.txt"), str(folder / "missing.png")])
    assert result.exit_code == 1
    assert result.stdout == f"{folder}/star.PNG: {STAR}\n{folder}/a/both.jpg: {CIRCLE_AND_DIAMOND}\n"
    unknown = "this is not an image that can be read here: send JPEG, PNG, WebP, GIF, BMP, TIFF, HEIC or AVIF"
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


def test_a_file_name_is_escaped_on_the_terminal_and_unchanged_in_csv(run: Run, folder: Path) -> None:
    name = b"\x1b[2J\xff.png".decode(errors="surrogateescape")
    shutil.copy(folder / "star.PNG", folder / name)
    assert run(folder / name).stdout == f"{str(folder / name)!a}: {STAR}\n"
    assert os.fsencode(folder / name) in run(folder / name, "--csv").stdout_bytes
    (image,) = map(json.loads, run(folder / name, "--json").stdout.splitlines())
    assert image["input"] == str(folder / name)


def test_few_images_are_decoded_at_once_and_few_are_listed_ahead(
    make_app: Callable[..., Flask], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The folder has many hard links to one image."""
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
    runners = [lane.runner for lane in captioner._loaded.batcher.lanes]
    steps = sum(runner.steps for runner in runners)
    assert sum(runner.steps_of_images for runner in runners) / steps >= 2, "images are captioned in batches"


def test_large_images_wait_for_memory_without_a_timeout(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(encoded, "semaphore", WeightedSemaphore(1, wait=0, busy="too many large images at once"))
    monkeypatch.setattr(captioners, "usable_cores", lambda: 8)
    for number in range(32):
        (tmp_path / f"{number:02}.png").hardlink_to(ASSETS / "star.png")
    result = run(tmp_path)
    assert result.exit_code == 0, result.stderr
    assert result.stdout.count(STAR) == 32


def test_json_lines_and_the_manifest_have_scores(run: Run, tmp_path: Path) -> None:
    arguments = [ASSETS / "star.png", "--json", "--scores", "--manifest", tmp_path / "manifest", "--num-beams", 1]
    result = run(*arguments, "--max-new-tokens", 4)
    image = json.loads(result.stdout)
    (score,) = image["scores"]
    assert (image["captions"], score["tokens"]) == (["a large pink star"], 4)
    assert -0.5 < score["log_probability"] < 0
    again = run(*arguments, "--max-new-tokens", 4)
    assert again.stderr.endswith("1 done before\n")
    assert again.stdout == result.stdout
    assert "scores" not in json.loads(run(ASSETS / "star.png", "--json").stdout)


def test_a_numeric_prompt_is_text(run: Run) -> None:
    for prompt in ("5", "true", "a photograph of"):
        result = run(ASSETS, "--prompt", prompt)
        assert (result.exit_code, result.stdout) == (1, "")
        assert result.stderr.endswith("Error: --prompt: This model takes no text.\n")


def test_each_caption_starts_with_the_prompt(make_app: Callable[..., Flask], tmp_path: Path) -> None:
    runner = make_app(CAPTIONER_MODEL=str(write_blip(tmp_path / "blip"))).test_cli_runner()
    result = runner.invoke(args=["caption", str(ASSETS), "--prompt", "a photograph of", "--json"])
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert len(lines) == 2
    assert all(line["captions"][0].startswith("a photograph of") for line in lines)


def test_csv_has_the_columns_of_the_model_s_defaults(make_app: Callable[..., Flask], tmp_path: Path) -> None:
    runner = make_app(CAPTIONER_DEFAULTS={"num_return_sequences": 3}).test_cli_runner()
    titles, *rows = csv.reader(runner.invoke(args=["caption", str(ASSETS), "--csv"]).stdout.splitlines())
    assert titles == ["input", "model", "caption", "caption_2", "caption_3"]
    assert [len(row) for row in rows] == [5, 5]
    (tmp_path / "empty").mkdir()
    assert runner.invoke(args=["caption", str(tmp_path / "empty"), "--csv"]).stdout == "input,model,caption\n"


def test_changed_defaults_recaption_files_in_the_manifest(make_app: Callable[..., Flask], tmp_path: Path) -> None:
    command = ["caption", str(ASSETS), "--manifest", str(tmp_path / "manifest")]
    for defaults, counts in [({}, "2 captioned"), ({"num_beams": 1}, "2 captioned"), ({}, "2 done before")]:
        result = make_app(CAPTIONER_DEFAULTS=defaults).test_cli_runner().invoke(args=command)
        assert result.stderr.endswith(f"{counts}\n")


def test_the_substitute_s_warning_is_printed_once(
    make_app: Callable[..., Flask], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    result = make_app(CAPTIONER_MODEL=None).test_cli_runner().invoke(args=["caption", str(ASSETS)])
    assert result.exit_code == 0
    (warning,) = [line for line in result.stderr.splitlines() if line.startswith("Warning: ")]
    assert "captions come from the small embedded model instead" in warning
