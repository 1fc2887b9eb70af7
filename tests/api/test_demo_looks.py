"""How the demo page looks: contrast in both colour schemes, and the order of its parts on a phone."""

from collections.abc import Sequence
from itertools import pairwise

import pytest
from playwright.sync_api import Page, expect

from flaskapp.api.demo.samples import SAMPLES
from tests.api.demo_page import card, choose, expect_caption, expect_status, wait_for
from tests.conftest import ASSETS

SCHEMES = pytest.mark.parametrize("scheme", ["light", "dark"])
# The colours of a possibly transparent text and of the panel behind it.
COLOURS = """element => {
  const numbers = (text) => text.match(/[\\d.]+/g).slice(0, 3).map(Number);
  const of = (each, property) => numbers(getComputedStyle(each)[property]);
  return {
    text: of(element, "color"), border: of(element, "borderTopColor"), own: of(element, "backgroundColor"),
    panel: of(element.closest(".panel") ?? document.body, "backgroundColor"),
    opacity: Number(getComputedStyle(element).opacity),
  };
}"""
FAINTEST = """element => {
  const [animation] = element.getAnimations();
  animation.pause();
  animation.currentTime = animation.effect.getComputedTiming().duration - 0.001;
}"""


def contrast(one: Sequence[float], other: Sequence[float]) -> float:
    """Return the contrast ratio of two sRGB colours by WCAG 2."""
    lighter, darker = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def _luminance(colour: Sequence[float]) -> float:
    parts = [each / 255 for each in colour]
    linear = [each / 12.92 if each <= 0.04045 else ((each + 0.055) / 1.055) ** 2.4 for each in parts]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def test_black_on_white_has_a_contrast_of_21() -> None:
    assert contrast([0, 0, 0], [255, 255, 255]) == pytest.approx(21)


@pytest.mark.browser
@SCHEMES
def test_the_pulsing_text_is_readable_at_its_faintest(demo: Page, scheme: str) -> None:
    demo.emulate_media(color_scheme=scheme)
    demo.route("**/caption/", lambda route: None)
    choose(demo, ASSETS / "star.png")
    caption = demo.locator(".caption")
    expect(caption).to_have_text("Looking…")
    caption.evaluate(FAINTEST)
    seen = caption.evaluate(COLOURS)
    assert seen["opacity"] < 0.7, "the animation is at its faintest"
    mixed = [
        seen["opacity"] * text + (1 - seen["opacity"]) * panel
        for text, panel in zip(seen["text"], seen["panel"], strict=True)
    ]
    assert contrast(mixed, seen["panel"]) >= 4.5


@pytest.mark.browser
@SCHEMES
def test_checkboxes_have_enough_contrast(demo: Page, scheme: str) -> None:
    demo.emulate_media(color_scheme=scheme)
    demo.get_by_text("More", exact=True).click()
    for box in (demo.get_by_label("Caption them as one job"), demo.get_by_label("Draw at random")):
        seen = box.evaluate(COLOURS)
        assert contrast(seen["border"], seen["panel"]) >= 3
        box.check()
        seen = box.evaluate(COLOURS)
        assert contrast(seen["own"], seen["panel"]) >= 3
        mark = box.evaluate("box => getComputedStyle(box, '::before').borderRightWidth")
        assert float(mark.removesuffix("px")) > 1


@pytest.mark.browser
def test_a_phone_has_the_results_above_the_samples_on_screen_and_in_tab_order(demo: Page) -> None:
    name, scene = SAMPLES[0]
    demo.get_by_role("button", name=scene.caption).click()
    expect_caption(demo, name, scene.caption)
    assert are_ordered(demo, "#drop", "#samples-title", "#results-title")
    demo.set_viewport_size({"width": 390, "height": 844})
    wait_for(demo, lambda: are_ordered(demo, "#drop", "#settings-details", "#results-title", ".card", "#samples-title"))
    demo.get_by_role("button", name="Remove " + name).focus()
    demo.keyboard.press("Tab")
    expect(demo.locator("[data-sample]").first).to_be_focused()
    demo.get_by_role("button", name=SAMPLES[1].scene.caption).click()
    expect_status(demo, "1 image captioned.")
    expect(card(demo, SAMPLES[1].name)).to_be_in_viewport()
    demo.set_viewport_size({"width": 1280, "height": 1000})
    wait_for(demo, lambda: are_ordered(demo, "#drop", "#samples-title", "#results-title"))


def are_ordered(page: Page, *selectors: str) -> bool:
    """Return whether the elements have this order on the screen and in the document."""
    order = """selectors => {
      const all = selectors.map((selector) => document.querySelector(selector));
      return all.map((each) => [each.getBoundingClientRect().top,
        all.filter((other) => other.compareDocumentPosition(each) & Node.DOCUMENT_POSITION_FOLLOWING).length]);
    }"""
    places = page.evaluate(order, list(selectors))
    return all(one[0] < other[0] and one[1] < other[1] for one, other in pairwise(places))
