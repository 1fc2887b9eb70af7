"""The demo page of a server that requires a login."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import requests
from playwright.sync_api import Route, expect

from flaskapp.database import Database
from flaskapp.tokens import Tokens
from tests.api.conftest import Watched
from tests.api.demo_page import (
    ADA,
    STAR,
    card,
    choose,
    expect_caption,
    expect_status,
    log_in,
    resize,
    shown_lines,
    start_requiring_logins,
    wait_for,
)
from tests.conftest import ASSETS, Server

WITH_TOKEN = 'curl -H "Authorization: Bearer $TOKEN" -F data=@star.png '


@pytest.mark.browser
def test_the_page_asks_for_a_required_login_and_continues(
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
    expect(page.get_by_role("heading", name="Log in")).to_be_in_viewport()
    said = page.locator("#login .said")
    log_in(page, "ada", "wrong")
    expect(said).to_have_text("Wrong name or password.")
    log_in(page, **ada)
    expect(said).to_have_text("Logged in as ada.")
    expect_caption(page, "star.png", STAR)
    resize(page, "star.png")
    lines = shown_lines(card(page, "star.png"))
    assert [line.startswith("curl -u ada -F data=@star.png ") for line in lines] == [True, True]
    log_in(page, "ada", "wrong")
    log_in(page, "ada", "wrong")
    expect(said).to_have_text("Too many attempts from this address. Try again in 60 s.")
    assert watched.bugs == []


@pytest.mark.browser
def test_a_login_that_became_invalid_is_not_sent_again_and_typing_is_not_interrupted(
    watched: Watched, start_server: Callable[..., Server], tmp_path: Path
) -> None:
    server = start_requiring_logins(start_server)
    page = watched.page
    page.goto(server.url + "/demo")
    log_in(page, **ADA)
    held: list[Route] = []
    page.route("**/caption/", lambda route: held.append(route))
    paths = [tmp_path / f"{number}.png" for number in range(12)]
    for path in paths:
        path.write_bytes((ASSETS / "star.png").read_bytes())
    choose(page, *paths)
    expect(page.locator(".card[data-state=running]")).to_have_count(4)
    page.get_by_label("Password").fill("correct")
    wait_for(page, lambda: len(held) == 4)
    for route in held:
        route.fulfill(status=401, json={"message": "log in with a saved username and its password"})
    expect_status(page, "0 images captioned, 12 failed.")
    assert len(held) == 4, "the waiting images were not sent"
    expect(page.locator("#login .said")).to_have_text("This login is not right any more. Log in again.")
    expect(page.get_by_label("Password")).to_be_focused()
    page.unroute("**/caption/")
    log_in(page, **ADA)
    expect_status(page, "12 images captioned.")
    assert watched.bugs == []


@pytest.mark.browser
def test_an_api_token_logs_in_and_is_not_in_the_curl_lines(
    watched: Watched, start_server: Callable[..., Server], tmp_path: Path
) -> None:
    url = f"sqlite:///{tmp_path / 'server.db'}"
    server = start_server("--workers", "1", FLASKAPP_REQUIRE_LOGIN="true", FLASKAPP_DATABASE_URL=url)
    database = Database(url)
    tokens = Tokens(database)
    token = tokens.create("ci")
    page = watched.page
    page.goto(server.url + "/demo")
    choose(page, ASSETS / "star.png")
    page.get_by_role("button", name="Resize star.png").click()
    expect(page.locator("[data-part=resize-problem]")).to_have_text(
        "Not resized. Log in first: then it can be resized."
    )
    field, said = page.get_by_label("Or an API token"), page.locator("#login .said")
    for wrong in ("flaskapp_wrong", "flaskapp_wröng 🐴"):
        field.fill(wrong)
        field.press("Enter")
        expect(said).to_have_text("This token is unknown, revoked or expired.")
        page.get_by_label("Name").fill("")
    field.fill(f" {token} ")
    field.press("Enter")
    expect(said).to_have_text("Logged in by a token.")
    expect(field).to_have_value("")
    expect_caption(page, "star.png", STAR)
    resize(page, "star.png")
    lines = shown_lines(card(page, "star.png"))
    assert [line.startswith(WITH_TOKEN) for line in lines] == [True, True]
    done = subprocess.run(
        ["bash", "-c", lines[0]], cwd=ASSETS, env=os.environ | {"TOKEN": token}, capture_output=True, timeout=60
    )
    assert STAR.encode() in done.stdout
    assert token not in page.content() + page.evaluate("JSON.stringify([{...localStorage}, {...sessionStorage}])")
    tokens.revoke("ci")
    database.close()
    page.get_by_role("button", name="Run again").click()
    expect(said).to_have_text("This token is not right any more. Log in again.")
    assert watched.bugs == []
