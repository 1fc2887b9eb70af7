"""Many images as one caption job on the demo page."""

import csv
import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, Request, Route, expect

from tests.api.conftest import Watched
from tests.api.demo_page import (
    ADA,
    CIRCLE_AND_DIAMOND,
    STAR,
    card,
    choose,
    expect_caption,
    expect_status,
    log_in,
    start_requiring_logins,
    wait_for,
)
from tests.conftest import ASSETS, Server
from tests.free_port import free_port

ONE_JOB = "Caption them as one job"
STATUS = re.compile("/caption_jobs/[^/]+$")


def stars(folder: Path, count: int) -> list[Path]:
    paths = [folder / f"{number}.png" for number in range(count)]
    for path in paths:
        path.write_bytes((ASSETS / "star.png").read_bytes())
    return paths


def words(page: Page) -> Locator:
    return page.locator(".job [data-part=words]")


def posts(page: Page) -> list[Request]:
    """Return a list that collects the page's POST requests from now on."""
    sent: list[Request] = []
    page.on("request", lambda request: sent.append(request) if request.method == "POST" else None)
    return sent


@pytest.mark.browser
def test_many_images_become_one_job_with_paged_results(demo: Page, tmp_path: Path) -> None:
    broken, bundle = tmp_path / "broken.png", tmp_path / "pictures.zip"
    broken.write_bytes((ASSETS / "star.png").read_bytes()[:3000])
    bundle.write_bytes(b"PK\x03\x04")
    sent = posts(demo)
    demo.locator("#num_return_sequences").fill("2")
    demo.get_by_label(ONE_JOB).check()
    choose(demo, *stars(tmp_path, 103), broken, bundle, ASSETS / "circle_and_diamond.png")
    expect(words(demo)).to_have_text("104 of 105 images captioned, 1 failed.")
    expect_status(demo, "104 of 105 images captioned, 1 failed.")
    expect_caption(demo, "0.png", STAR)
    expect_caption(demo, "circle_and_diamond.png", CIRCLE_AND_DIAMOND)
    expect(card(demo, "102.png").locator(".alternatives li")).to_have_count(1)
    expect(card(demo, "broken.png").locator(".problem p")).to_have_text("The png image is broken or cut short.")
    expect(card(demo, "pictures.zip").locator(".problem p")).to_have_text("This is a zip, not an image.")
    assert [request.url.rpartition("/")[0].rpartition("/")[2] for request in sent] == ["caption_jobs"]
    assert re.fullmatch("[0-9a-f-]{36}", sent[0].headers["idempotency-key"])
    rows = list(csv.DictReader(save(demo, "CSV", "captions.csv").splitlines()))
    assert [row["caption"] for row in rows] == [STAR] * 103 + ["", CIRCLE_AND_DIAMOND]
    lines = save(demo, "JSON lines", "captions.jsonl").splitlines()
    assert json.loads(lines[103])["error"] == "the png image is broken or cut short"


def save(page: Page, format: str, name: str) -> str:
    with page.expect_download() as download:
        page.get_by_role("link", name=f"Results as {format}").click()
    assert download.value.suggested_filename == name
    return download.value.path().read_text()


@pytest.mark.browser
def test_a_job_shows_its_progress_and_can_be_cancelled(demo: Page, tmp_path: Path) -> None:
    statuses = [
        {"state": "queued", "total": 150, "done": 0, "failed": 0, "seconds_remaining": None},
        {"state": "running", "total": 150, "done": 99, "failed": 1, "seconds_remaining": 100.5},
    ]
    held: list[Route] = []
    demo.route(STATUS, lambda route: held.append(route) if route.request.method == "GET" else route.continue_())
    demo.locator("#num_beams").fill("32")
    demo.get_by_label(ONE_JOB).check()
    choose(demo, *stars(tmp_path, 150))
    wait_for(demo, lambda: held != [])
    with demo.expect_response(lambda response: response.status == 204):
        demo.get_by_role("button", name="Cancel job").press("Enter")
    held.pop().fulfill(json=statuses[0])
    expect(words(demo)).to_have_text("0 of 150 images captioned. Waiting for its turn.")
    wait_for(demo, lambda: held != [])
    held.pop().fulfill(json=statuses[1])
    expect(words(demo)).to_have_text("99 of 150 images captioned, 1 failed. About 2 minutes left.")
    bar = demo.get_by_role("progressbar", name="Images of the job done")
    assert bar.evaluate("bar => [bar.value, bar.max]") == [100, 150]
    wait_for(demo, lambda: held != [])
    held.pop().continue_()
    expect(words(demo)).to_have_text(re.compile(r"^Cancelled: \d+ of 150 images captioned\.$"))
    expect(card(demo, "149.png").locator(".problem p")).to_have_text("The job was cancelled before its turn.")
    expect(bar).to_be_hidden()
    expect(demo.get_by_role("heading", name="Job of 150 images")).to_be_focused()
    demo.get_by_role("button", name="Remove the job").click()
    expect(demo.locator(".job")).to_have_count(0)


LOSE_ONE_ANSWER = """() => {
  const whole = window.fetch;
  window.fetch = async (...request) => {
    const answer = await whole(...request);
    window.lost = answer.headers.get("Location");
    window.fetch = whole;
    throw new TypeError("network error");
  };
}"""


@pytest.mark.browser
def test_a_job_with_a_lost_answer_is_found_by_its_idempotency_key(watched: Watched, server: Server) -> None:
    page = watched.page
    page.add_init_script("delete Crypto.prototype.randomUUID")  # as on a page of plain http
    page.goto(server.url + "/demo")
    page.evaluate(LOSE_ONE_ANSWER)
    sent = posts(page)
    page.get_by_label(ONE_JOB).check()
    choose(page, ASSETS / "star.png", ASSETS / "circle_and_diamond.png")
    expect(words(page)).to_have_text("The server cannot be reached. It may be down, or you are offline.")
    expect(card(page, "star.png").locator(".problem p")).to_have_text("Nothing came of the job.")
    with page.expect_request(STATUS) as asked:
        page.locator(".job").get_by_role("button", name="Try again").press("Enter")
    expect_caption(page, "star.png", STAR)
    assert asked.value.url.endswith(page.evaluate("lost"))
    assert len({request.headers["idempotency-key"] for request in sent}) == 1
    assert watched.bugs == []


@pytest.mark.browser
def test_a_refused_job_shows_a_message(watched: Watched, start_server: Callable[..., Server], tmp_path: Path) -> None:
    broker = {"FLASKAPP_BROKER_URL": f"redis://127.0.0.1:{free_port()}"}
    server = start_server("--workers", "1", **broker, FLASKAPP_MAX_JOB_IMAGES="2", FLASKAPP_MAX_JOB_MB="1")
    page = watched.page
    page.goto(server.url + "/demo")
    sent = posts(page)
    page.get_by_label(ONE_JOB).check()
    choose(page, *stars(tmp_path, 3))
    expect(words(page)).to_have_text(
        "These are 3 images; a job has 2 at most. Choose fewer, or caption them one by one."
    )
    expect(page.locator(".job").get_by_role("button", name="Try again")).to_be_hidden()
    page.get_by_role("button", name="Remove all").click()
    large = tmp_path / "large.bmp"
    large.write_bytes(b"BM" + bytes(2**20))
    choose(page, large)
    expect(words(page)).to_contain_text("These images have 1.0 MB together; a job has 1 MB at most.")
    page.get_by_role("button", name="Remove the job").click()
    assert sent == [], "too large jobs are not sent"
    choose(page, ASSETS / "star.png")
    expect(words(page)).to_contain_text("Try again in")
    page.get_by_role("button", name="Cancel job").press("Enter")
    expect(words(page)).to_have_text("Cancelled.")
    page.locator("#num_beams").fill("33")
    page.locator(".job").get_by_role("button", name="Try again").click()
    expect(words(page)).to_contain_text("num_beams: ")
    expect(page.locator("#num_beams-error")).to_be_visible()
    assert watched.bugs == []


@pytest.mark.browser
def test_a_job_waits_for_a_login_and_then_starts(
    watched: Watched, start_server: Callable[..., Server], tmp_path: Path
) -> None:
    server = start_requiring_logins(start_server)
    page = watched.page
    page.set_viewport_size({"width": 360, "height": 740})
    page.goto(server.url + "/demo")
    page.get_by_label(ONE_JOB).check()
    choose(page, *stars(tmp_path, 3))
    expect(words(page)).to_have_text("Log in first: then it is captioned.")
    expect(page.get_by_label("Name")).to_be_focused()
    log_in(page, **ADA)
    expect(words(page)).to_have_text("3 of 3 images captioned.")
    expect_caption(page, "2.png", STAR)
    rows = list(csv.DictReader(save(page, "CSV", "captions.csv").splitlines()))
    assert [row["caption"] for row in rows] == [STAR] * 3
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    assert watched.bugs == []
