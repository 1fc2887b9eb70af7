"""The curl lines that the demo page shows."""

import json
import subprocess
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Page, expect

from flaskapp.api.demo.samples import SAMPLES
from tests.api.demo_page import (
    STAR,
    card,
    choose,
    expect_caption,
    resize,
    shown_lines,
)
from tests.conftest import ASSETS

AWKWARD = 'it\'s; a "star", 5$ \\ `é`.png'


@pytest.mark.browser
@pytest.mark.parametrize("name", ["star.png", AWKWARD, "-"])
def test_the_curl_lines_repeat_the_page_s_requests(demo: Page, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes((ASSETS / "star.png").read_bytes())
    demo.locator("#num_return_sequences").fill("2")
    demo.locator("#w").fill("40")
    choose(demo, tmp_path / name)
    expect_caption(demo, name, STAR)
    (other,) = demo.locator(".alternatives li").all_text_contents()
    resize(demo, name)
    lines = shown_lines(card(demo, name))
    answer = json.loads(run_in_bash(lines[0], tmp_path))
    assert answer["results"][0]["captions"] == [STAR, other]
    run_in_bash(lines[1], tmp_path)
    with Image.open(tmp_path / "image_resize.png") as image:
        assert image.size == (40, 28)


@pytest.mark.browser
def test_the_curl_lines_of_a_sample_download_it(demo: Page, tmp_path: Path) -> None:
    name, scene = SAMPLES[0]
    demo.get_by_role("button", name=scene.caption).click()
    expect_caption(demo, name, scene.caption)
    resize(demo, name)
    caption_line, resize_line = shown_lines(card(demo, name))
    answer = json.loads(run_in_bash(caption_line, tmp_path))
    assert (answer["caption"], answer["results"][0]["input"]) == (scene.caption, name)
    run_in_bash(resize_line, tmp_path)
    assert (tmp_path / "image_resize.png").exists()


def run_in_bash(line: str, folder: Path) -> str:
    done = subprocess.run(["bash", "-c", line], cwd=folder, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.browser
def test_a_curl_line_can_be_copied(demo: Page) -> None:
    demo.context.grant_permissions(["clipboard-read", "clipboard-write"])
    choose(demo, ASSETS / "star.png")
    (line,) = shown_lines(card(demo, "star.png"))
    button = demo.get_by_role("button", name="Copy the curl line for the caption")
    button.press("Enter")
    copied = demo.get_by_role("button", name="Copied", exact=True)
    expect(copied).to_be_focused()
    expect(copied).to_have_attribute("aria-live", "polite")
    assert demo.evaluate("navigator.clipboard.readText()") == line
    expect(button).to_be_focused()
