"""The demo page: its files, and what people do on it in a real browser."""

import base64
import io
import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient
from PIL import Image, ImageChops
from playwright.sync_api import Locator, Page, Route, expect

from flaskapp.api.caption import CaptionConfig
from flaskapp.api.demo.samples import FOLDER, SAMPLES, draw_all
from tests.api.demo_page import (
    CIRCLE_AND_DIAMOND,
    STAR,
    card,
    choose,
    expect_caption,
    expect_status,
    shown_lines,
    wait_for,
)
from tests.conftest import ASSETS

TIMES = "\N{MULTIPLICATION SIGN}"
AWKWARD = 'it\'s; a "star", 5$ \\ `é`.png'


def test_the_page_loads_nothing_from_elsewhere_by_its_policy(client: FlaskClient) -> None:
    (policy,) = client.get("/demo").headers.getlist("Content-Security-Policy")
    assert policy == (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


@pytest.mark.parametrize(
    ("path", "types"),
    [
        ("/demo", {"text/html"}),
        ("/demo/", {"text/html"}),
        ("/demo/static/page.js", {"text/javascript", "application/javascript"}),
        ("/demo/static/demo.css", {"text/css"}),
        ("/demo/static/mark.svg", {"image/svg+xml"}),
        ("/demo/static/samples/two_crosses.png", {"image/png"}),
    ],
)
def test_its_files_have_their_types_and_are_sent_once(client: FlaskClient, path: str, types: set[str]) -> None:
    answer = client.get(path, buffered=True)
    assert answer.status_code == 200
    assert answer.mimetype in types
    assert answer.headers["Cache-Control"] == "no-cache"
    again = client.get(path, headers={"If-None-Match": answer.headers["ETag"]}, buffered=True)
    assert again.status_code == 304


@pytest.mark.parametrize("path", ["../__init__.py", "..%2fsamples.py", "samples", "", "../templates/demo/index.html"])
def test_no_other_file_is_served(client: FlaskClient, path: str) -> None:
    assert client.get("/demo/static/" + path).status_code == 404


def test_every_setting_of_a_caption_has_its_control_with_the_bounds_of_its_schema(client: FlaskClient) -> None:
    page = client.get("/demo").text
    names = re.findall(r'id="\w+" name="(\w+)"', page)
    assert sorted(names) == sorted([*CaptionConfig().fields, "w", "h"])
    assert '<input type="number" id="num_beams" name="num_beams" min="1" max="32"' in page


def test_the_page_knows_the_limits_of_the_server(make_app: Callable[..., Flask]) -> None:
    page = make_app(MAX_UPLOAD_MB=3, MAX_SIDE=100, MAX_MEGAPIXELS=7).test_client().get("/demo").text
    assert 'data-max-upload-mb="3"' in page
    assert "up to 3 MB and 7 megapixels each" in page
    assert 'name="w" min="1" max="100"' in page


@pytest.mark.parametrize(("name", "scene"), SAMPLES)
def test_every_sample_gets_exactly_its_caption(client: FlaskClient, name: str, scene: object) -> None:
    data = io.BytesIO((FOLDER / name).read_bytes()), name
    assert client.post("/caption/", data={"data": data}).get_json()["caption"] == scene.caption


def test_the_samples_are_what_the_code_draws(tmp_path: Path) -> None:
    draw_all(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {path.name for path in FOLDER.iterdir()}
    for drawn in tmp_path.iterdir():
        with Image.open(drawn) as one, Image.open(FOLDER / drawn.name) as other:
            assert ImageChops.difference(one.convert("RGB"), other.convert("RGB")).getbbox() is None, drawn.name


def size_of(image: Locator) -> list[int]:
    size: list[int] = image.evaluate("image => image.decode().then(() => [image.naturalWidth, image.naturalHeight])")
    return size


@pytest.mark.browser
def test_a_chosen_image_gets_its_caption_and_the_model_is_named(demo: Page) -> None:
    choose(demo, ASSETS / "star.png")
    expect_caption(demo, "star.png", STAR)
    expect_status(demo, "1 image captioned.")
    expect(demo.locator("#model")).to_have_text("model embedded")
    expect(demo.locator(".card [data-part=original]")).to_have_attribute("alt", STAR)


@pytest.mark.browser
def test_a_sample_gets_its_caption(demo: Page) -> None:
    name, scene = SAMPLES[2]
    demo.get_by_role("button", name=scene.caption).click()
    expect_caption(demo, name, scene.caption)


@pytest.mark.browser
def test_several_images_come_at_once_and_a_broken_one_fails_alone_in_words(demo: Page, tmp_path: Path) -> None:
    broken, drawing = tmp_path / "broken.png", tmp_path / "drawing.svg"
    broken.write_bytes((ASSETS / "star.png").read_bytes()[:3000])
    drawing.write_text("<svg/>")
    choose(demo, ASSETS / "star.png", broken, drawing, ASSETS / "circle_and_diamond.png")
    expect_status(demo, "2 images captioned, 2 failed.")
    expect_caption(demo, "star.png", STAR)
    expect_caption(demo, "circle_and_diamond.png", CIRCLE_AND_DIAMOND)
    expect(card(demo, "broken.png").locator(".problem p")).to_have_text("The png image is broken or cut short.")
    expect(card(demo, "drawing.svg").locator(".problem")).to_contain_text("This is not an image that can be read here")
    assert demo.locator(".card h3").all_text_contents() == [
        "star.png", "broken.png", "drawing.svg", "circle_and_diamond.png"
    ]  # fmt: skip


@pytest.mark.browser
def test_a_few_images_are_on_their_way_at_a_time_and_the_bar_moves(demo: Page, tmp_path: Path) -> None:
    held: list[Route] = []
    demo.route("**/caption/", lambda route: held.append(route))
    paths = [tmp_path / f"{number}.png" for number in range(6)]
    for path in paths:
        path.write_bytes((ASSETS / "star.png").read_bytes())
    choose(demo, *paths)
    expect(demo.locator(".card[data-state=running]")).to_have_count(4)
    expect(demo.locator(".card[data-state=waiting]")).to_have_count(2)
    expect_status(demo, "Captioning 6 images…")
    bar = demo.get_by_role("progressbar", name="Images done")
    assert bar.evaluate("bar => [bar.value, bar.max]") == [0, 6]
    wait_for(demo, lambda: len(held) == 4)
    held.pop(0).continue_()
    expect(demo.locator("progress")).to_have_js_property("value", 1)
    wait_for(demo, lambda: len(held) == 4)
    for _ in range(5):
        wait_for(demo, lambda: held != [])
        held.pop(0).continue_()
    expect_status(demo, "6 images captioned.")
    expect(bar).to_be_hidden()


@pytest.mark.browser
def test_the_settings_go_with_the_request_and_alternatives_are_listed(demo: Page) -> None:
    demo.get_by_label("Captions, slider").fill("3")
    expect(demo.locator("#num_return_sequences")).to_have_value("3")
    choose(demo, ASSETS / "star.png")
    expect_caption(demo, "star.png", STAR)
    expect(demo.locator(".alternatives li")).to_have_count(2)
    demo.locator("#num_return_sequences").fill("1")
    demo.locator("#max_length").fill("5")
    demo.locator("#num_beams").fill("1")
    expect(demo.get_by_label("Beams, slider")).to_have_value("1")
    demo.get_by_role("button", name="Run again").click()
    expect_caption(demo, "star.png", "a large pink star")
    expect(demo.locator(".alternatives")).to_be_hidden()


@pytest.mark.browser
def test_the_resized_picture_has_the_size_that_was_asked_for(demo: Page) -> None:
    choose(demo, ASSETS / "star.png")
    resized = card(demo, "star.png").locator("[data-part=resized]")
    expect(resized.locator("figcaption")).to_have_text(f"28 {TIMES} 28 px, resized")
    demo.locator("#w").fill("40")
    demo.locator("#h").fill("20")
    demo.get_by_role("button", name="Run again").click()
    expect(resized.locator("figcaption")).to_have_text(f"40 {TIMES} 20 px, resized")
    assert size_of(resized.locator("img")) == [40, 20]
    with demo.expect_download() as download:
        resized.get_by_role("link").click()
    assert download.value.suggested_filename == "image_resize.png"
    with Image.open(download.value.path()) as image:
        assert image.size == (40, 20)


SEND = """([type, name, data]) => {
  const bytes = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
  const transfer = new DataTransfer();
  transfer.items.add(new File([bytes], name, { type: "image/png" }));
  const options = { bubbles: true, cancelable: true };
  for (const each of type === "paste" ? ["paste"] : ["dragenter", "dragover", "drop"]) {
    document.querySelector("#samples-title").dispatchEvent(
      each === "paste"
        ? new ClipboardEvent(each, { ...options, clipboardData: transfer })
        : new DragEvent(each, { ...options, dataTransfer: transfer }));
  }
}"""


@pytest.mark.browser
@pytest.mark.parametrize("way", ["paste", "drop"])
def test_an_image_can_be_pasted_and_dropped_anywhere(demo: Page, way: str) -> None:
    data = base64.b64encode((ASSETS / "star.png").read_bytes()).decode()
    demo.evaluate(SEND, [way, "image.png", data])
    expect_caption(demo, "image.png", STAR)
    expect(demo.locator("#drop")).not_to_have_class(re.compile("over"))


@pytest.mark.browser
@pytest.mark.parametrize("name", ["star.png", AWKWARD, "-"])
def test_the_curl_lines_do_what_the_page_did(demo: Page, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes((ASSETS / "star.png").read_bytes())
    demo.locator("#num_return_sequences").fill("2")
    demo.locator("#w").fill("40")
    choose(demo, tmp_path / name)
    expect_caption(demo, name, STAR)
    (other,) = demo.locator(".alternatives li").all_text_contents()
    lines = shown_lines(card(demo, name))
    answer = json.loads(run_in_bash(lines[0], tmp_path))
    assert answer["results"][0]["captions"] == [STAR, other]
    run_in_bash(lines[1], tmp_path)
    with Image.open(tmp_path / "image_resize.png") as image:
        assert image.size == (40, 28)


@pytest.mark.browser
def test_the_curl_lines_of_a_sample_need_no_file(demo: Page, tmp_path: Path) -> None:
    name, scene = SAMPLES[0]
    demo.get_by_role("button", name=scene.caption).click()
    expect_caption(demo, name, scene.caption)
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
def test_a_line_can_be_copied(demo: Page) -> None:
    demo.context.grant_permissions(["clipboard-read", "clipboard-write"])
    choose(demo, ASSETS / "star.png")
    line, _ = shown_lines(card(demo, "star.png"))
    button = demo.get_by_role("button", name="Copy the curl line for the caption")
    button.press("Enter")
    copied = demo.get_by_role("button", name="Copied", exact=True)
    expect(copied).to_be_focused()
    expect(copied).to_have_attribute("aria-live", "polite")
    assert demo.evaluate("navigator.clipboard.readText()") == line
    expect(button).to_be_focused()


@pytest.mark.browser
def test_of_many_images_only_those_near_the_screen_are_decoded(demo: Page, tmp_path: Path) -> None:
    demo.route("**/caption/", lambda route: None)
    paths = [tmp_path / f"{number}.png" for number in range(40)]
    for path in paths:
        path.write_bytes((ASSETS / "star.png").read_bytes())
    choose(demo, *paths)
    pictures = demo.locator("[data-part=original]")
    expect(pictures.first).not_to_have_js_property("naturalWidth", 0)
    expect(pictures.last).to_have_js_property("naturalWidth", 0)
    pictures.last.scroll_into_view_if_needed()
    expect(pictures.last).not_to_have_js_property("naturalWidth", 0)


@pytest.mark.browser
def test_the_keyboard_alone_is_enough(demo: Page) -> None:
    walk_to(demo, "#drop")
    with demo.expect_file_chooser() as chooser:
        demo.keyboard.press("Enter")
    chooser.value.set_files(ASSETS / "star.png")
    expect_caption(demo, "star.png", STAR)
    walk_to(demo, "[data-slides=num_return_sequences]")
    demo.keyboard.press("ArrowRight")
    expect(demo.locator("#num_return_sequences")).to_have_value("2")
    walk_to(demo, "#again")
    demo.keyboard.press("Enter")
    expect(demo.locator(".alternatives li")).to_have_count(1)
    walk_to(demo, ".curl summary")
    demo.keyboard.press("Enter")
    walk_to(demo, "[data-part=curl-caption] button")
    walk_to(demo, ".remove")
    demo.keyboard.press("Enter")
    expect(demo.locator(".card")).to_have_count(0)
    expect(demo.locator("#drop")).to_be_focused()
    walk_to(demo, "[data-sample]")
    demo.keyboard.press("Space")
    expect_caption(demo, SAMPLES[0].name, SAMPLES[0].scene.caption)
    walk_to(demo, "nav a")  # past the end, and round: nothing holds the focus


def walk_to(page: Page, selector: str) -> None:
    """Press Tab until an element has the focus; each on the way must show that it has it."""
    look = """selector => {
        const focused = document.activeElement;
        const isShown = focused === document.body || getComputedStyle(focused).outlineStyle !== "none";
        return [focused.matches(selector), isShown];
    }"""
    for _ in range(60):
        page.keyboard.press("Tab")
        is_there, is_shown = page.evaluate(look, selector)
        assert is_shown
        if is_there:
            return
    raise AssertionError(f"no way leads to {selector}")


@pytest.mark.browser
def test_everything_that_can_be_worked_has_a_name(demo: Page) -> None:
    choose(demo, ASSETS / "star.png")
    expect_caption(demo, "star.png", STAR)
    nameless = demo.locator("button, input, select, a, progress, summary").evaluate_all(
        """all => all.filter((each) => !each.labels?.length && !each.ariaLabel && !each.textContent.trim()
            && !each.querySelector("img[alt]:not([alt=''])") && each.type !== "file").map((each) => each.outerHTML)"""
    )
    assert nameless == []


@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_shows_all_of_it_without_scrolling_sideways(demo: Page, tmp_path: Path, scheme: str) -> None:
    long = tmp_path / ("a_photograph_of_a_star_" * 8 + ".png")
    long.write_bytes((ASSETS / "star.png").read_bytes())
    demo.emulate_media(color_scheme=scheme)
    demo.set_viewport_size({"width": 360, "height": 740})
    demo.reload()
    expect(demo.locator("#settings")).to_be_hidden()
    demo.get_by_role("heading", name="Settings").click()
    demo.get_by_text("More", exact=True).click()
    demo.get_by_label("Draw at random").check()
    demo.locator("#num_beams").fill("3")
    demo.locator("#num_return_sequences").fill("3")
    choose(demo, long)
    expect_status(demo, "1 image captioned.")
    shown_lines(card(demo, long.name))
    assert demo.evaluate("document.documentElement.scrollWidth") == 360
    is_dark = demo.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(18, 21, 27)"
    assert is_dark == (scheme == "dark")
