"""Use of the demo page in a real browser."""

import base64
import re
from pathlib import Path

import pytest
from playwright.sync_api import Page, Route, expect

from flaskapp.api.demo.samples import SAMPLES
from tests.api.demo_page import (
    CIRCLE_AND_DIAMOND,
    STAR,
    card,
    choose,
    expect_caption,
    expect_status,
    wait_for,
)
from tests.conftest import ASSETS


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
def test_a_broken_image_among_several_fails_alone_with_a_message(demo: Page, tmp_path: Path) -> None:
    broken, drawing = tmp_path / "broken.png", tmp_path / "drawing.svg"
    broken.write_bytes((ASSETS / "star.png").read_bytes()[:3000])
    drawing.write_text("<svg/>")
    choose(demo, ASSETS / "star.png", broken, drawing, ASSETS / "circle_and_diamond.png")
    expect_status(demo, "2 images captioned, 2 failed.")
    expect_caption(demo, "star.png", STAR)
    expect_caption(demo, "circle_and_diamond.png", CIRCLE_AND_DIAMOND)
    expect(card(demo, "broken.png").locator(".problem p")).to_have_text("The png image is broken or cut short.")
    expect(card(demo, "drawing.svg").locator(".problem")).to_contain_text("This is SVG, which cannot be read here")
    assert demo.locator(".card h3").all_text_contents() == [
        "star.png", "broken.png", "drawing.svg", "circle_and_diamond.png"
    ]  # fmt: skip


@pytest.mark.browser
def test_four_images_are_sent_at_a_time_and_the_progress_bar_moves(demo: Page, tmp_path: Path) -> None:
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
def test_the_settings_are_sent_and_alternatives_listed(demo: Page) -> None:
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
def test_an_image_can_be_pasted_or_dropped_anywhere(demo: Page, way: str) -> None:
    data = base64.b64encode((ASSETS / "star.png").read_bytes()).decode()
    demo.evaluate(SEND, [way, "image.png", data])
    expect_caption(demo, "image.png", STAR)
    expect(demo.locator("#drop")).not_to_have_class(re.compile("over"))
