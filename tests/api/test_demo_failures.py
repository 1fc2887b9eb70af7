"""Failures on the demo page: it shows a message and continues where it can."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, Route, expect

from tests.api.conftest import Watched
from tests.api.demo_page import STAR, card, choose, expect_caption, expect_status, resize
from tests.conftest import ASSETS, Server


@pytest.mark.browser
def test_an_invalid_setting_shows_the_server_s_message(demo: Page) -> None:
    demo.locator("#num_return_sequences").fill("9")
    demo.get_by_text("More", exact=True).click()
    demo.locator("#temperature").wait_for(state="hidden")
    demo.get_by_label("Draw at random").check()
    demo.locator("#temperature").fill("0")
    demo.get_by_text("More", exact=True).click()
    choose(demo, ASSETS / "star.png")
    expect(demo.locator(".problem p")).to_contain_text("temperature: Must be at least 0.01")
    expect(demo.locator("#temperature-error")).to_be_visible()
    expect(demo.locator("#temperature")).to_have_attribute("aria-invalid", "true")
    demo.locator("#temperature").fill("1")
    expect(demo.locator("#temperature-error")).to_be_hidden()
    demo.get_by_role("button", name="Defaults").click()
    demo.get_by_role("button", name="Try again").click()
    expect_caption(demo, "star.png", STAR)


@pytest.mark.browser
def test_the_page_waits_for_the_retry_after_of_a_busy_server(demo: Page) -> None:
    answers: list[str] = []

    def busy_once(route: Route) -> None:
        answers.append(route.request.url)
        if len(answers) > 1:
            route.continue_()
        else:
            body = {"code": 503, "status": "Service Unavailable", "message": "too many images wait"}
            route.fulfill(status=503, headers={"Retry-After": "1"}, json=body)

    demo.route("**/caption/", busy_once)
    choose(demo, ASSETS / "star.png")
    expect_status(demo, "The server is busy. Going on in 1 s…")
    expect_caption(demo, "star.png", STAR)
    assert len(answers) == 2


NOT_UNDERSTOOD = "The server answered something that this page does not understand."
ANSWERS = [
    (413, "", "<html>a proxy's</html>", "The file is larger than the server accepts."),
    (429, "60", '{"message": "too many attempts"}', "Too many attempts. Try again in 60 s."),
    (503, "60", '{"message": "no model"}', "No model. Try again in 60 s."),
    (504, "", '{"message": "not ready after 30 s"}', "Not ready after 30 s."),
    (500, "", '{"code": 500, "status": "Internal Server Error"}', "Something went wrong in the server."),
    (502, "", "", "The server cannot be reached. It may be down, or you are offline."),
    (200, "", "<html>a proxy's</html>", NOT_UNDERSTOOD),
    (200, "", '{"results": []}', NOT_UNDERSTOOD),
    (200, "", '{"model": "x", "results": [{"captions": [5]}]}', NOT_UNDERSTOOD),
]


@pytest.mark.browser
def test_an_error_has_a_message_and_a_temporary_one_can_be_retried(demo: Page, tmp_path: Path) -> None:
    demo.route("**/caption/", answer_by_name)
    paths = [tmp_path / f"answer-{number}.png" for number in range(len(ANSWERS))]
    for path in paths:
        path.write_bytes((ASSETS / "star.png").read_bytes())
    choose(demo, *paths)
    expect_status(demo, f"0 images captioned, {len(ANSWERS)} failed.")
    for path, (status, _, _, words) in zip(paths, ANSWERS, strict=True):
        problem = card(demo, path.name).locator(".problem")
        expect(problem.locator("p")).to_have_text(words)
        expect(problem.get_by_role("button", name="Try again")).to_be_visible(visible=status != 413)
    expect(demo.locator("#cancel")).to_be_hidden()


def answer_by_name(route: Route) -> None:
    sent = re.search(rb"answer-(\d+)", route.request.post_data_buffer or b"")
    assert sent
    status, retry_after, body, _ = ANSWERS[int(sent[1])]
    route.fulfill(status=status, headers={"Retry-After": retry_after} if retry_after else {}, body=body)


@pytest.mark.browser
def test_a_bug_in_the_page_fails_one_image_and_leaves_the_page_usable(watched: Watched, server: Server) -> None:
    page = watched.page
    page.add_init_script("AbortSignal.any = () => { throw new RangeError('a bug') }")
    page.goto(server.url + "/demo")
    choose(page, ASSETS / "star.png")
    expect(page.locator(".problem p")).to_have_text("Something went wrong in this page.")
    expect_status(page, "0 images captioned, 1 failed.")
    expect(page.locator("#cancel")).to_be_hidden()
    assert any("a bug" in problem for problem in watched.bugs), "the console shows the bug"


@pytest.mark.browser
def test_the_focus_moves_on_when_its_button_disappears(demo: Page) -> None:
    demo.route("**/caption/", lambda route: None)
    choose(demo, ASSETS / "star.png", ASSETS / "circle_and_diamond.png")
    demo.locator("#cancel").press("Enter")
    expect(demo.locator("#retry-all")).to_be_focused()
    demo.keyboard.press("Enter")
    expect(demo.locator("#cancel")).to_be_focused()
    demo.keyboard.press("Enter")
    demo.unroute("**/caption/")
    card(demo, "star.png").get_by_role("button", name="Try again").press("Enter")
    expect(demo.get_by_role("heading", name="star.png")).to_be_focused()
    expect_caption(demo, "star.png", STAR)


@pytest.mark.browser
def test_removing_a_running_image_aborts_its_request(demo: Page) -> None:
    demo.route("**/caption/", lambda route: None)
    choose(demo, ASSETS / "star.png", ASSETS / "circle_and_diamond.png")
    expect(demo.locator(".card[data-state=running]")).to_have_count(2)
    with demo.expect_event("requestfailed"):
        demo.get_by_role("button", name="Remove star.png").click()
    demo.get_by_role("button", name="Cancel").click()
    expect_status(demo, "0 images captioned, 2 cancelled.")


@pytest.mark.browser
def test_a_failed_resize_shows_an_error_and_keeps_the_caption(demo: Page) -> None:
    choose(demo, ASSETS / "star.png")
    expect_caption(demo, "star.png", STAR)
    demo.locator("#w").fill("0")
    demo.get_by_role("button", name="Resize star.png").click()
    expect(demo.get_by_role("alert")).to_contain_text("Not resized. w: Must be from 1 to 4096 pixels.")
    expect(demo.locator("#w-error")).to_be_visible()
    demo.locator("#w").fill("40")
    resize(demo, "star.png")
    expect(demo.get_by_role("alert")).to_be_hidden()
    expect_caption(demo, "star.png", STAR)


@pytest.mark.browser
def test_cancelled_images_can_be_retried(demo: Page) -> None:
    demo.route("**/caption/", lambda route: None)
    choose(demo, ASSETS / "star.png", ASSETS / "circle_and_diamond.png")
    expect(demo.locator(".card[data-state=running]")).to_have_count(2)
    demo.get_by_role("button", name="Cancel").click()
    expect_status(demo, "0 images captioned, 2 cancelled.")
    demo.unroute("**/caption/")
    demo.get_by_role("button", name="Try failed ones again").click()
    expect_status(demo, "2 images captioned.")
    demo.get_by_role("button", name="Remove all").click()
    expect(demo.locator(".card")).to_have_count(0)
    expect(demo.locator("#drop")).to_be_focused()


@pytest.mark.browser
def test_without_a_model_images_are_resized_and_without_a_server_an_error_is_shown(
    watched: Watched, start_server: Callable[..., Server], tmp_path: Path
) -> None:
    model = {"FLASKAPP_CAPTIONER_MODEL": str(tmp_path / "nothing"), "FLASKAPP_MAX_UPLOAD_MB": "1"}
    server = start_server("--workers", "1", **model)
    page = watched.page
    page.goto(server.url + "/demo")
    expect(page.locator("#model")).to_be_hidden()
    choose(page, ASSETS / "star.png")
    expect(page.locator(".problem p")).to_contain_text("There is no captioning model")
    resize(page, "star.png")
    large = tmp_path / "large.bmp"
    large.write_bytes(b"BM" + bytes(2**20))
    sent = []
    page.on("request", lambda request: sent.append(request.url))
    choose(page, large)
    words = "The file has 1.0 MB; the server takes 1 MB at most."
    expect(card(page, "large.bmp").locator(".problem p")).to_have_text(words)
    assert [url for url in sent if url.startswith("http")] == [], "a too large file is not sent"
    server.stop()
    choose(page, ASSETS / "circle_and_diamond.png")
    shown = card(page, "circle_and_diamond.png").locator(".problem")
    expect(shown).to_contain_text("The server cannot be reached.")
    expect(shown.get_by_role("button", name="Try again")).to_be_visible()
    assert watched.bugs == []
