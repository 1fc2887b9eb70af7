"""Accessibility of the demo page: keyboard, labels, small screens, many images."""

from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from flaskapp.api.demo.samples import SAMPLES
from tests.api.demo_page import (
    STAR,
    card,
    choose,
    expect_caption,
    expect_status,
    shown_lines,
)
from tests.conftest import ASSETS


@pytest.mark.browser
def test_only_images_near_the_viewport_are_decoded(demo: Page, tmp_path: Path) -> None:
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
def test_the_page_can_be_used_by_keyboard_alone(demo: Page) -> None:
    with demo.expect_file_chooser() as chooser:  # enables interception before Enter is pressed
        walk_to(demo, "#drop")
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
    walk_to(demo, "nav a")  # past the end and around: there is no focus trap


def walk_to(page: Page, selector: str) -> None:
    """Press Tab until an element has the focus. Check that each element on the way shows its focus."""
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
    raise AssertionError(f"Tab does not reach {selector}")


@pytest.mark.browser
def test_every_control_has_an_accessible_name(demo: Page) -> None:
    choose(demo, ASSETS / "star.png")
    expect_caption(demo, "star.png", STAR)
    nameless = demo.locator("button, input, select, a, progress, summary").evaluate_all(
        """all => all.filter((each) => !each.labels?.length && !each.ariaLabel && !each.textContent.trim()
            && !each.querySelector("img[alt]:not([alt=''])") && each.type !== "file").map((each) => each.outerHTML)"""
    )
    assert nameless == []


@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_shows_the_page_without_horizontal_scrolling(demo: Page, tmp_path: Path, scheme: str) -> None:
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
