"""Parts of a card besides its caption: the copy button, times, the resized image, the first frame."""

import re
from pathlib import Path

import pillow_heif
import pytest
from PIL import Image
from playwright.sync_api import Locator, Page, expect

from tests.api.conftest import Watched
from tests.api.demo_page import STAR, card, choose, expect_caption, expect_status, resize
from tests.conftest import ASSETS, Server

TIMES = "\N{MULTIPLICATION SIGN}"


@pytest.mark.browser
def test_the_copy_button_copies_the_caption_and_confirms_it(demo: Page) -> None:
    demo.context.grant_permissions(["clipboard-read", "clipboard-write"])
    choose(demo, ASSETS / "star.png")
    button = demo.get_by_role("button", name="Copy the caption of star.png")
    button.press("Enter")
    copied = demo.get_by_role("button", name="Copied", exact=True)
    expect(copied).to_be_focused()
    expect(copied).to_have_attribute("aria-live", "polite")
    assert demo.evaluate("navigator.clipboard.readText()") == STAR
    expect(button).to_be_focused()


@pytest.mark.browser
def test_the_caption_is_copied_over_plain_http_without_the_clipboard_api(watched: Watched, server: Server) -> None:
    page = watched.page
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.add_init_script("window.clipboard = navigator.clipboard; delete Navigator.prototype.clipboard")
    page.goto(server.url + "/demo")
    choose(page, ASSETS / "star.png")
    page.get_by_role("button", name="Copy the caption of star.png").click()
    expect(page.get_by_role("button", name="Copied", exact=True)).to_be_visible()
    assert page.evaluate("clipboard.readText()") == STAR
    assert watched.bugs == []


@pytest.mark.browser
def test_a_card_without_a_caption_has_no_copy_button(demo: Page) -> None:
    demo.route("**/caption/", lambda route: None)
    choose(demo, ASSETS / "star.png")
    expect(demo.locator(".caption")).to_have_text("Looking…")
    expect(demo.get_by_role("button", name="Copy the caption of star.png")).to_be_hidden()


@pytest.mark.browser
def test_the_times_of_the_request_and_the_model_are_shown(demo: Page) -> None:
    choose(demo, ASSETS / "star.png")
    time = demo.locator("[data-part=time]")
    expect(time).to_have_text(re.compile(r"^Took \d+\.\d\d s, \d+\.\d\d s of that in the model$"))
    whole, model = (float(number) for number in re.findall(r"[\d.]+(?= s)", time.inner_text()))
    assert 0 < model <= whole
    answer = {"model": "embedded", "results": [{"captions": ["a star"]}]}
    demo.route("**/caption/", lambda route: route.fulfill(json=answer))  # without Server-Timing
    demo.get_by_role("button", name="Run again").click()
    expect(time).to_have_text(re.compile(r"^Took \d+\.\d\d s$"))


@pytest.mark.browser
def test_an_image_is_resized_only_on_request_to_the_size_in_the_settings(demo: Page) -> None:
    sent: list[str] = []
    demo.on("request", lambda request: sent.append(request.url))
    choose(demo, ASSETS / "star.png")
    expect_status(demo, "1 image captioned.")
    demo.get_by_role("button", name="Run again").click()
    expect_caption(demo, "star.png", STAR)
    assert not any("cv_model" in url for url in sent)
    expect(demo.locator("[data-part=curl-resize]")).to_be_hidden()
    resized = resize(demo, "star.png")
    expect(resized.locator("figcaption")).to_have_text(f"28 {TIMES} 28 px, resized")
    demo.locator("#w").fill("40")
    demo.locator("#h").fill("20")
    demo.get_by_role("button", name="Resize star.png").press("Enter")
    expect(resized.locator("figcaption")).to_have_text(f"40 {TIMES} 20 px, resized")
    assert len([url for url in sent if "cv_model" in url]) == 2
    with demo.expect_download() as download:
        resized.get_by_role("link").click()
    assert download.value.suggested_filename == "image_resize.png"
    with Image.open(download.value.path()) as image:
        assert image.size == (40, 20)


pillow_heif.register_heif_opener()

FRAMES = [Image.new("RGB", (60, 40), colour) for colour in ("red", "lime", "blue")]
COLOUR = """canvas => [...canvas.getContext("2d").getImageData(30, 20, 1, 1).data.slice(0, 3)]"""


@pytest.mark.browser
@pytest.mark.parametrize("ending", ["gif", "webp", "png", "avif"])
def test_a_card_shows_the_captioned_frame_of_an_animation(demo: Page, tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"moving.{ending}"
    FRAMES[0].save(path, save_all=True, append_images=FRAMES[1:], duration=20, loop=0)
    choose(demo, path)
    still = card(demo, path.name).locator("canvas[data-part=original]")
    expect(still).to_be_visible()
    red, green, blue = still.evaluate(COLOUR)
    assert red > 240
    assert max(green, blue) < 15
    expect(card(demo, path.name).locator("[data-part=about-original]")).to_contain_text(f"60 {TIMES} 40 px")
    caption = card(demo, path.name).locator(".caption")
    expect_status(demo, "1 image captioned.")
    expect(card(demo, path.name).get_by_role("img", name=caption.inner_text(), exact=True)).to_be_visible()


@pytest.mark.browser
def test_a_still_image_is_shown_unchanged(demo: Page) -> None:
    choose(demo, ASSETS / "star.png")
    expect_caption(demo, "star.png", STAR)
    original: Locator = demo.get_by_role("img", name=STAR)
    expect(original).not_to_have_js_property("naturalWidth", 0)
    expect(demo.locator("canvas")).to_have_count(0)


@pytest.mark.browser
@pytest.mark.parametrize("ending", ["tiff", "heic"])
@pytest.mark.parametrize("as_job", [False, True])
def test_a_format_unknown_to_the_browser_is_shown_as_the_server_decodes_it(
    demo: Page, tmp_path: Path, ending: str, as_job: bool
) -> None:
    path = tmp_path / f"pages.{ending}"
    pages = [page.resize((600, 400)) for page in FRAMES]
    pages[0].save(path, save_all=True, append_images=pages[1:])
    demo.locator("#as-job").set_checked(as_job)
    choose(demo, path)
    shown = card(demo, path.name)
    still = shown.locator("canvas[data-part=original]")
    expect(still).to_be_visible()
    red, green, blue = still.evaluate(COLOUR)
    assert red > 230
    assert max(green, blue) < 30
    box = still.bounding_box()
    assert box is not None
    assert abs(box["width"] / box["height"] - 600 / 400) < 0.05
    expect(shown.locator("[data-part=about-original]")).to_contain_text(f"600 {TIMES} 400 px")
    caption = shown.locator(".caption").inner_text()
    expect(shown.get_by_role("img", name=caption, exact=True)).to_be_visible()


@pytest.mark.browser
def test_an_image_decoded_by_the_server_is_shown_upright(demo: Page, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # rotate by 90 degrees
    FRAMES[0].save(tmp_path / "turned.tiff", exif=exif)
    choose(demo, tmp_path / "turned.tiff")
    about = card(demo, "turned.tiff").locator("[data-part=about-original]")
    expect(about).to_contain_text(f"40 {TIMES} 60 px")


@pytest.mark.browser
def test_an_image_that_the_server_cannot_decode_leaves_its_place_empty(demo: Page, tmp_path: Path) -> None:
    sent: list[str] = []
    demo.on("request", lambda request: sent.append(request.url))
    (tmp_path / "broken.tiff").write_bytes(b"II*\0" + b"x" * 100)
    FRAMES[0].save(tmp_path / "whole.tiff")
    demo.route("**/cv_model/**", lambda route: route.fulfill(status=500))
    with demo.expect_response("**/cv_model/**"):
        choose(demo, tmp_path / "broken.tiff", tmp_path / "whole.tiff")
    expect(card(demo, "broken.tiff").locator("[data-part=problem]")).to_be_visible()
    expect_status(demo, "1 image captioned, 1 failed.")
    expect(demo.locator(".frame.blank")).to_have_count(2)
    assert len([url for url in sent if "cv_model" in url]) == 1
