"""The demo page and the loaded model: defaults, prompt, scores, and the warning of the embedded substitute."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from flask import Flask
from playwright.sync_api import Page, expect

from flaskapp.captioner import captioner
from tests.api.conftest import Watched
from tests.api.demo_page import STAR, card, choose, expect_caption, expect_status, shown_lines
from tests.captioner.prompted import write_blip
from tests.conftest import ASSETS, Server

OWN_DEFAULTS = (
    '{"num_beams": 3, "max_length": 9, "early_stopping": "never", "do_sample": true, "temperature": 0.01, "top_k": 1}'
)


def expect_no_config(page: Page) -> None:
    """Check that the page shows the defaults and sends no settings."""
    assert "config" not in shown_lines(card(page, "star.png"))[0]


def expect_own_defaults(page: Page) -> None:
    expect(page.locator("#num_beams")).to_have_value("3")
    expect(page.get_by_label("Beams, slider")).to_have_value("3")
    expect(page.locator("#max_length")).to_have_value("9")
    expect(page.locator("#early_stopping")).to_have_value('"never"')
    expect(page.locator("#do_sample")).to_be_checked()
    expect(page.locator("#temperature")).to_have_value("0.01")


def test_the_page_is_rendered_with_the_loaded_model_s_defaults(make_app: Callable[..., Flask]) -> None:
    client = make_app(CAPTIONER_DEFAULTS={"num_beams": 3}).test_client()
    captioner.close()
    captioner._reset()
    assert 'name="num_beams" min="1" max="32"\n    step="1" value=""' in client.get("/demo").text
    captioner.load()
    assert 'name="num_beams" min="1" max="32"\n    step="1" value="3"' in client.get("/demo").text


@pytest.fixture(scope="module")
def defaulting(start_server: Callable[..., Server]) -> Server:
    return start_server("--workers", "1", FLASKAPP_CAPTIONER_DEFAULTS=OWN_DEFAULTS)


@pytest.mark.browser
def test_the_controls_start_with_the_defaults_and_only_changes_are_sent(watched: Watched, defaulting: Server) -> None:
    page = watched.page
    page.goto(defaulting.url + "/demo")
    expect_own_defaults(page)
    choose(page, ASSETS / "star.png")
    expect_status(page, "1 image captioned.")
    expect_no_config(page)
    page.locator("#num_beams").fill("8")
    page.get_by_text("More", exact=True).click()
    page.get_by_label("Draw at random").uncheck()
    page.locator("#early_stopping").select_option("no")
    page.locator("#max_length").fill("16")
    page.get_by_role("button", name="Run again").click()
    expect_caption(page, "star.png", STAR)
    line = page.locator("[data-part=curl-caption] code").inner_text()
    assert 'config={"max_length":16,"num_beams":8,"early_stopping":false,"do_sample":false}' in line.replace(
        '"num_beams":8,"max_length":16', '"max_length":16,"num_beams":8'
    )
    page.get_by_role("button", name="Defaults").click()
    expect_own_defaults(page)
    assert watched.bugs == []


@pytest.fixture(scope="module")
def unloaded(start_server: Callable[..., Server]) -> Iterator[Server]:
    """The development server, which loads the model at the first request for it."""
    server = start_server(
        command="flask --app wsgi run --port {port}", ready="Running on", FLASKAPP_CAPTIONER_DEFAULTS=OWN_DEFAULTS
    )
    yield server
    server.close()


@pytest.mark.browser
def test_defaults_that_arrive_late_keep_changed_settings(watched: Watched, unloaded: Server) -> None:
    page = watched.page
    held = []
    page.route("**/readyz", lambda route: held.append(route))
    page.goto(unloaded.url + "/demo")
    expect(page.locator("#model")).to_be_hidden()
    expect(page.locator("#num_beams")).to_have_value("")
    expect(page.locator("#num_beams")).to_have_attribute("placeholder", "auto")
    page.locator("#max_length").fill("5")
    page.unroute("**/readyz")
    for route in held:
        route.continue_()
    expect(page.locator("#model")).to_have_text("model embedded")
    expect(page.locator("#max_length")).to_have_value("5")
    page.locator("#max_length").fill("9")
    expect_own_defaults(page)
    expect(page.locator("#text")).to_be_hidden()
    choose(page, ASSETS / "star.png")
    expect_status(page, "1 image captioned.")
    expect_no_config(page)
    assert watched.bugs == []


@pytest.mark.browser
def test_the_page_has_a_prompt_field_if_the_model_takes_text(
    watched: Watched, start_server: Callable[..., Server], tmp_path: Path
) -> None:
    server = start_server("--workers", "1", FLASKAPP_CAPTIONER_MODEL=str(write_blip(tmp_path / "blip")))
    page = watched.page
    page.goto(server.url + "/demo")
    page.get_by_label("Prompt", exact=False).first.fill("a photograph of")
    choose(page, ASSETS / "star.png")
    expect_status(page, "1 image captioned.")
    expect(card(page, "star.png").locator(".caption")).to_contain_text("a photograph of")
    assert '"prompt":"a photograph of"' in shown_lines(card(page, "star.png"))[0]
    page.locator("#prompt").fill(" ")
    page.get_by_role("button", name="Run again").click()
    expect(card(page, "star.png").locator(".caption")).not_to_contain_text("a photograph of")
    assert watched.bugs == []
    server.stop()


@pytest.mark.browser
def test_the_page_has_no_prompt_field_if_the_model_takes_no_text(demo: Page) -> None:
    expect(demo.locator("#max_length")).to_be_visible()
    expect(demo.locator("#prompt")).to_be_hidden()


@pytest.mark.browser
def test_requested_scores_are_shown_with_each_caption(demo: Page) -> None:
    choose(demo, ASSETS / "star.png")
    expect_caption(demo, "star.png", STAR)
    expect(demo.locator(".card [data-part=score]")).to_be_hidden()
    demo.get_by_text("More", exact=True).click()
    demo.get_by_label("Show scores").check()
    demo.locator("#num_return_sequences").fill("2")
    demo.get_by_role("button", name="Run again").click()
    expect(demo.locator(".card [data-part=score]")).to_contain_text("Log-probability \N{MINUS SIGN}0.")
    expect(demo.locator(".alternatives .score")).to_contain_text("tokens")
    demo.get_by_label("Show scores").uncheck()
    demo.get_by_role("button", name="Run again").click()
    expect(demo.locator(".alternatives .score")).to_have_count(0)
    expect(demo.locator(".card [data-part=score]")).to_be_hidden()


@pytest.mark.browser
def test_a_job_is_sent_without_the_scores_setting(demo: Page) -> None:
    demo.get_by_text("More", exact=True).click()
    demo.get_by_label("Show scores").check()
    demo.get_by_label("Caption them as one job").check()
    choose(demo, ASSETS / "star.png")
    expect_caption(demo, "star.png", STAR)


@pytest.mark.browser
def test_each_card_warns_of_the_embedded_substitute(
    watched: Watched, start_server: Callable[..., Server], tmp_path: Path
) -> None:
    server = start_server("--workers", "1", FLASKAPP_CAPTIONER_MODEL="", HF_HOME=str(tmp_path), HF_HUB_OFFLINE="1")
    page = watched.page
    page.goto(server.url + "/demo")
    choose(page, ASSETS / "star.png")
    expect_caption(page, "star.png", STAR)
    expect(card(page, "star.png").locator("[data-part=warning]")).to_contain_text(
        "nlpconnect/vit-gpt2-image-captioning"
    )
    page.get_by_label("Caption them as one job").check()
    choose(page, ASSETS / "circle_and_diamond.png")
    expect(card(page, "circle_and_diamond.png").locator("[data-part=warning]")).to_be_visible()
    assert watched.bugs == []
    server.stop()
