"""Actions and expectations on the demo page."""

from collections.abc import Callable
from pathlib import Path

import requests
from playwright.sync_api import Locator, Page, expect

from tests.conftest import Server

STAR = "a large pink star on a yellow background"
CIRCLE_AND_DIAMOND = "a large red circle left of a small black diamond on a pink background"
ADA = {"username": "ada", "password": "correct horse"}


def start_requiring_logins(start_server: Callable[..., Server]) -> Server:
    """Start a server that requires a login, with Ada's saved."""
    server = start_server("--workers", "1", FLASKAPP_REQUIRE_LOGIN="true", FLASKAPP_REGISTRATION="open")
    requests.post(server.url + "/login/", json=ADA, timeout=30).raise_for_status()
    return server


def choose(page: Page, *files: Path) -> None:
    page.locator("#files").set_input_files(list(files))


def card(page: Page, name: str) -> Locator:
    return page.locator(".card").filter(has=page.get_by_role("heading", name=name, exact=True))


def expect_caption(page: Page, name: str, caption: str) -> None:
    expect(card(page, name).locator(".caption")).to_have_text(caption)


def expect_status(page: Page, text: str) -> None:
    expect(page.locator("#status")).to_have_text(text)


def log_in(page: Page, username: str, password: str) -> None:
    page.get_by_label("Name").fill(username)
    page.get_by_label("Password").fill(password)
    with page.expect_response("**/text_model/**"):
        page.get_by_label("Password").press("Enter")


def shown_lines(shown: Locator) -> list[str]:
    shown.get_by_text("The same with curl").click()
    expect(shown.locator("[data-part=curl-caption]")).to_be_visible()
    return shown.locator(".line:visible code").all_inner_texts()


def resize(page: Page, name: str) -> Locator:
    """Request the resized image and wait for it."""
    shown = card(page, name)
    shown.get_by_role("button", name=f"Resize {name}", exact=True).click()
    expect(shown.locator(".resized figcaption")).to_contain_text("resized")
    return shown.locator(".resized")


def wait_for(page: Page, condition: Callable[[], bool]) -> None:
    """Wait until a condition holds, while the page runs."""
    for _ in range(1000):
        if condition():
            return
        page.wait_for_timeout(25)
    raise AssertionError("the condition did not hold in time")
