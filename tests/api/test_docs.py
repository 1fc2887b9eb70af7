"""Swagger UI and ReDoc in a real browser that reaches only this server."""

import re
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests
from flask.testing import FlaskClient
from PIL import Image
from playwright.sync_api import Locator, expect

from flaskapp.database import Database
from flaskapp.tokens import Tokens
from tests.api.conftest import Watched
from tests.conftest import ASSETS, Server

TALL = {"width": 1280, "height": 8000}  # Swagger UI renders only what is near the viewport


def test_the_content_security_policy_allows_no_other_host(client: FlaskClient) -> None:
    for path in ("/swagger-ui", "/redoc"):
        policy = client.get(path).headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "script-src 'self';" in policy
        assert "http" not in policy


def test_docs_redirects_to_swagger_ui(client: FlaskClient) -> None:
    answer = client.get("/docs")
    assert (answer.status_code, answer.headers["Location"]) == (302, "swagger-ui")


def test_a_path_that_climbs_out_of_the_assets_is_not_found(client: FlaskClient) -> None:
    assert client.get("/docs/assets/../../__init__.py").status_code == 404


def test_only_the_assets_that_the_pages_load_are_served(client: FlaskClient) -> None:
    for name in ("redoc.js", "swagger_bundle.js", "swagger_style.css"):
        with client.get(f"/docs/assets/{name}") as answer:
            assert answer.status_code == 200
    for name in ("__init__.py", "scalar.js", "swagger_bundle.js/x"):
        assert client.get(f"/docs/assets/{name}").status_code == 404


def open_operation(watched: Watched, server: Server, name: str) -> Locator:
    watched.page.set_viewport_size(TALL)
    watched.page.goto(server.url + "/swagger-ui")
    operation = watched.page.locator(f"[id^=operations-{name}-post]")
    operation.locator("button.opblock-summary-control").click()
    return operation


def execute(operation: Locator, status: int = 200) -> Locator:
    """Press Execute, wait for an answer with this status and return the row that shows it."""
    operation.locator("button.execute").click()
    row = operation.locator(".live-responses-table tbody tr").first
    expect(row.locator(".response-col_status")).to_contain_text(str(status), timeout=30_000)
    return row


@pytest.mark.browser
def test_swagger_ui_tries_out_a_resize(watched: Watched, server: Server, tmp_path: Path) -> None:
    operation = open_operation(watched, server, "cv_model")
    operation.locator("tr[data-param-name=w] input").fill("40")
    operation.locator("input[type=file]").set_input_files(ASSETS / "star.png")
    answer = execute(operation)
    with watched.page.expect_download() as download:
        answer.get_by_role("link", name="Download file").click()
    download.value.save_as(tmp_path / "resized.png")
    assert download.value.suggested_filename == "image_resize.png"
    with Image.open(tmp_path / "resized.png") as image:
        assert image.size == (40, 28)
    assert watched.problems == []
    assert watched.hosts == {urlsplit(server.url).netloc}


@pytest.mark.browser
def test_swagger_ui_captions_an_image_with_the_prefilled_config(watched: Watched, server: Server) -> None:
    operation = open_operation(watched, server, "caption")
    operation.locator("input[type=file]").first.set_input_files(ASSETS / "star.png")
    expect(execute(operation)).to_contain_text('"caption": "a large pink star on a yellow background"')
    assert watched.problems == []


@pytest.mark.browser
def test_swagger_ui_captions_an_image_with_a_typed_config(watched: Watched, server: Server) -> None:
    operation = open_operation(watched, server, "caption")
    operation.locator("input[type=file]").first.set_input_files(ASSETS / "star.png")
    operation.locator("textarea").first.fill('{"max_length": 4, "num_beams": 2}')
    expect(execute(operation)).to_contain_text('"caption": "a large pink"')
    assert watched.problems == []
    assert watched.hosts == {urlsplit(server.url).netloc}


@pytest.mark.browser
def test_swagger_ui_submits_a_job_with_the_prefilled_fields(watched: Watched, server: Server) -> None:
    operation = open_operation(watched, server, "caption_jobs")
    operation.locator("input[type=file]").first.set_input_files(ASSETS / "star.png")
    expect(execute(operation, 202)).to_contain_text('"total": 1')


@pytest.mark.browser
def test_swagger_ui_shows_the_example_of_another_content_type(watched: Watched, server: Server) -> None:
    operation = open_operation(watched, server, "caption")
    content_type = operation.locator(".opblock-section-request-body select").first
    content_type.select_option("application/json")
    expect(execute(operation)).to_contain_text('"caption": "a large red square on a white background"')
    content_type.select_option("multipart/form-data")
    operation.locator("input[type=file]").first.set_input_files(ASSETS / "star.png")
    expect(execute(operation)).to_contain_text('"input": "star.png"')


def authorize(watched: Watched, fields: dict[str, str]) -> None:
    """Fill in the fields of one login scheme."""
    watched.page.locator("button.authorize").first.click()
    dialog = watched.page.locator(".dialog-ux")
    form = dialog.locator("form", has=watched.page.get_by_label(next(iter(fields)), exact=True))
    for label, text in fields.items():
        form.get_by_label(label, exact=True).fill(text)
    form.locator("button.authorize").click()
    dialog.locator("button.btn-done").first.click()


@pytest.mark.browser
def test_swagger_ui_logs_in_with_its_authorize_button(watched: Watched, start_server: Callable[..., Server]) -> None:
    server = start_server("--workers", "1", FLASKAPP_REQUIRE_LOGIN="true", FLASKAPP_REGISTRATION="open")
    ada = {"username": "ada", "password": "pässwort"}  # Swagger UI can only send Latin-1
    assert requests.post(server.url + "/login/", json=ada, timeout=30).status_code == 200
    operation = open_operation(watched, server, "text_model")
    authorize(watched, {"auth-basic-username": ada["username"], "auth-basic-password": ada["password"]})
    expect(execute(operation)).to_contain_text('"is_email": true')
    assert watched.problems == []


@pytest.mark.browser
def test_swagger_ui_takes_a_token_with_its_authorize_button(
    watched: Watched, start_server: Callable[..., Server], tmp_path: Path
) -> None:
    url = f"sqlite:///{tmp_path / 'server.db'}"
    server = start_server("--workers", "1", FLASKAPP_REQUIRE_LOGIN="true", FLASKAPP_DATABASE_URL=url)
    database = Database(url)
    token = Tokens(database).create("ci")
    database.close()
    operation = open_operation(watched, server, "text_model")
    authorize(watched, {"auth-bearer-value": token})
    expect(execute(operation)).to_contain_text('"is_email": true')
    assert watched.problems == []


def shown_tag(watched: Watched, name: str) -> Locator:
    """Return the heading of a tag."""
    watched.page.set_viewport_size(TALL)
    return watched.page.locator(f"#operations-tag-{name}")


@pytest.mark.browser
def test_swagger_ui_starts_with_captions_and_collapses_operators_tags(watched: Watched, server: Server) -> None:
    watched.page.goto(server.url + "/swagger-ui")
    for name, is_open in (("caption", True), ("cv_model", True), ("probes", False), ("metrics", False)):
        expect(shown_tag(watched, name)).to_have_attribute("data-is-open", str(is_open).lower())
    tags = watched.page.locator(".opblock-tag").evaluate_all("all => all.map((each) => each.dataset.tag)")
    assert tags == [
        "caption", "caption_jobs", "image_to_text", "openai", "ollama", "open_inference", "photoprism",
        "status", "items", "login", "text_model", "cv_model", "probes", "metrics",
    ]  # fmt: skip
    shown_tag(watched, "metrics").click()
    expect(watched.page.locator("[id^=operations-metrics-get]")).to_be_visible()
    assert watched.problems == []


@pytest.mark.browser
def test_a_link_to_a_collapsed_tag_of_swagger_ui_opens_it(watched: Watched, server: Server) -> None:
    watched.page.goto(server.url + "/swagger-ui#/metrics")
    expect(shown_tag(watched, "metrics")).to_have_attribute("data-is-open", "true")
    expect(shown_tag(watched, "probes")).to_have_attribute("data-is-open", "false")


@pytest.mark.browser
def test_swagger_ui_follows_the_dark_colour_scheme(watched: Watched, server: Server) -> None:
    page = watched.page
    page.emulate_media(color_scheme="dark")
    page.goto(server.url + "/swagger-ui")
    background = "getComputedStyle(document.documentElement).backgroundColor"
    expect(page.locator("html.dark-mode .swagger-ui .title").first).to_contain_text("flaskapp")
    assert page.evaluate(background) == "rgb(28, 32, 34)"
    page.emulate_media(color_scheme="light")
    expect(page.locator("html")).not_to_have_class("dark-mode")
    assert page.evaluate(background) == "rgba(0, 0, 0, 0)"
    assert watched.problems == []


def test_an_answer_has_its_members_in_the_order_of_the_schema(client: FlaskClient) -> None:
    answer = client.post("/caption/", data={"data": (ASSETS / "star.png").open("rb"), "config": '{"scores": true}'})
    properties = client.get("/openapi.json").get_json()["components"]["schemas"]["CaptionAnswer"]["properties"]
    assert list(answer.get_json()) == [name for name in properties if name != "warning"]
    assert list(answer.get_json()["results"][0]) == ["input", "captions", "scores"]


@pytest.mark.browser
def test_redoc_shows_every_resource_and_its_logo_is_blocked(watched: Watched, server: Server) -> None:
    page = watched.page
    page.goto(server.url + "/redoc")
    for resource in ("status", "items", "login", "text_model", "cv_model", "caption"):
        expect(page.get_by_role("listitem").get_by_role("link", name=resource, exact=True)).to_be_visible()
    expect(page.get_by_role("link", name="openapi.json")).to_have_attribute("href", server.url + "/openapi.json")
    expect(page.get_by_role("main").get_by_text(server.url, exact=True)).to_be_visible()
    assert all("redoc/logo-mini" in problem and "blocked" in problem for problem in watched.problems)
    assert watched.hosts <= {urlsplit(server.url).netloc, "cdn.redoc.ly", ""}, "a data: URL has no host"


@pytest.mark.browser
def test_redoc_follows_the_dark_colour_scheme(watched: Watched, server: Server) -> None:
    for scheme, is_dark in (("dark", True), ("light", False)):
        watched.page.emulate_media(color_scheme=scheme)
        watched.page.goto(server.url + "/redoc")
        expect(watched.page.get_by_role("heading", name="flaskapp")).to_be_visible()
        assert is_dark_text(watched) != is_dark, scheme


def is_dark_text(watched: Watched) -> bool:
    """Return whether the title's text is nearer to black than to white."""
    heading = watched.page.get_by_role("heading", name="flaskapp")
    red, *_ = map(int, re.findall(r"\d+", heading.evaluate("each => getComputedStyle(each).color")))
    return red < 128
