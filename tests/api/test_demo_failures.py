"""What the demo page does when something goes wrong: it says so in words, and goes on when it can."""

from collections.abc import Callable
from pathlib import Path

import pytest
import requests
from playwright.sync_api import Page, Route, expect

from tests.api.conftest import Watched
from tests.api.demo_page import STAR, card, choose, expect_caption, expect_status, shown_lines
from tests.conftest import ASSETS, Server


@pytest.mark.browser
def test_a_setting_that_cannot_be_obeyed_is_marked_with_the_server_s_words(demo: Page) -> None:
    demo.locator("#num_return_sequences").fill("9")
    demo.get_by_text("More", exact=True).click()
    demo.locator("#temperature").wait_for(state="hidden")
    demo.get_by_label("Draw at random").check()
    demo.locator("#temperature").fill("0")
    demo.get_by_text("More", exact=True).click()
    choose(demo, ASSETS / "star.png")
    expect(demo.locator(".problem p")).to_contain_text("temperature: Must be greater than or equal to 0.01")
    expect(demo.locator("#temperature-error")).to_be_visible()
    expect(demo.locator("#temperature")).to_have_attribute("aria-invalid", "true")
    demo.locator("#temperature").fill("1")
    expect(demo.locator("#temperature-error")).to_be_hidden()
    demo.get_by_role("button", name="Defaults").click()
    demo.get_by_role("button", name="Try again").click()
    expect_caption(demo, "star.png", STAR)


@pytest.mark.browser
def test_while_the_server_is_busy_the_page_waits_as_long_as_it_is_told_to(demo: Page) -> None:
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


@pytest.mark.browser
@pytest.mark.parametrize(
    ("status", "headers", "body", "words"),
    [
        (413, {}, "<html>a proxy's</html>", "The file is larger than the server accepts."),
        (429, {"Retry-After": "60"}, '{"message": "too many attempts"}', "Too many attempts. Try again in 60 s."),
        (503, {"Retry-After": "60"}, '{"message": "no model"}', "No model. Try again in 60 s."),
        (504, {}, '{"message": "not ready after 30 s"}', "Not ready after 30 s."),
        (500, {}, '{"code": 500, "status": "Internal Server Error"}', "Something went wrong in the server."),
        (502, {}, "", "The server cannot be reached. It may be down, or you are offline."),
    ],
)
def test_an_error_is_shown_in_words_and_can_be_tried_again_if_it_may_pass(
    demo: Page, status: int, headers: dict[str, str], body: str, words: str
) -> None:
    demo.route("**/caption/", lambda route: route.fulfill(status=status, headers=headers, body=body))
    choose(demo, ASSETS / "star.png")
    expect(demo.locator(".problem p")).to_have_text(words)
    expect(demo.get_by_role("button", name="Try again")).to_be_visible(visible=status != 413)


@pytest.mark.browser
def test_what_was_cancelled_can_be_taken_up_again(demo: Page) -> None:
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
def test_without_a_model_images_are_resized_and_without_a_server_it_says_so(
    watched: Watched, start_server: Callable[..., Server], tmp_path: Path
) -> None:
    model = {"FLASKAPP_CAPTIONER_MODEL": str(tmp_path / "nothing"), "FLASKAPP_MAX_UPLOAD_MB": "1"}
    server = start_server("--workers", "1", **model)
    page = watched.page
    page.goto(server.url + "/demo")
    expect(page.locator("#model")).to_be_hidden()
    choose(page, ASSETS / "star.png")
    expect(page.locator(".problem p")).to_contain_text("There is no captioning model")
    expect(page.locator("[data-part=resized]")).to_be_visible()
    large = tmp_path / "large.bmp"
    large.write_bytes(b"BM" + bytes(2**20))
    sent = []
    page.on("request", lambda request: sent.append(request.url))
    choose(page, large)
    words = "The file has 1.0 MB; the server takes 1 MB at most."
    expect(card(page, "large.bmp").locator(".problem p")).to_have_text(words)
    assert [url for url in sent if url.startswith("http")] == [], "it was not sent in vain"
    server.stop()
    choose(page, ASSETS / "circle_and_diamond.png")
    shown = card(page, "circle_and_diamond.png").locator(".problem")
    expect(shown).to_contain_text("The server cannot be reached.")
    expect(shown.get_by_role("button", name="Try again")).to_be_visible()
    assert watched.bugs == []


@pytest.mark.browser
def test_where_a_login_is_wanted_the_page_asks_for_it_and_goes_on(
    watched: Watched, start_server: Callable[..., Server]
) -> None:
    settings = {"FLASKAPP_REQUIRE_LOGIN": "true", "FLASKAPP_REGISTRATION": "open"}
    server = start_server("--workers", "1", **settings, FLASKAPP_RATE_LIMIT_FAILURES="2/minute")
    ada = {"username": "ada", "password": "correct hörse 🐴"}
    assert requests.post(server.url + "/login/", json=ada, timeout=30).status_code == 200
    page = watched.page
    page.goto(server.url + "/demo")
    choose(page, ASSETS / "star.png")
    expect(page.locator(".problem p")).to_have_text("Log in first: then it is captioned.")
    expect(page.get_by_label("Name")).to_be_focused()
    said = page.locator("#login .said")
    log_in(page, "ada", "wrong")
    expect(said).to_have_text("Wrong name or password.")
    log_in(page, **ada)
    expect(said).to_have_text("Logged in as ada.")
    expect_caption(page, "star.png", STAR)
    expect(page.locator("[data-part=resized]")).to_be_visible()
    assert shown_lines(card(page, "star.png"))[0].startswith("curl -u ada -F data=@star.png ")
    log_in(page, "ada", "wrong")
    log_in(page, "ada", "wrong")
    expect(said).to_have_text("Too many attempts from this address. Try again in 60 s.")
    assert watched.bugs == []


def log_in(page: Page, username: str, password: str) -> None:
    page.get_by_label("Name").fill(username)
    page.get_by_label("Password").fill(password)
    with page.expect_response("**/text_model/**"):
        page.get_by_label("Password").press("Enter")
