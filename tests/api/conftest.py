"""A real browser, whose pages record errors and requests."""

from collections.abc import Iterator
from contextlib import nullcontext
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.conftest import Server
from tests.jobs.hosts import same_addresses

expect.set_options(timeout=30_000)  # milliseconds, generous for a busy machine

# Chromium logs this for each failed request. The page shows such errors to the user.
REFUSED = "Failed to load resource"


class Watched:
    """A page with its errors and the hosts that it asked."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.problems: list[str] = []
        self.failed: list[str] = []  # requests without an answer, shown with a failed test
        self.hosts: set[str] = set()
        page.on("console", lambda message: self.problems.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: self.problems.append(str(error)))
        page.on("request", lambda request: self.hosts.add(urlsplit(request.url).netloc))
        page.on("requestfailed", lambda request: self.failed.append(f"{request.url}: {request.failure}"))

    @property
    def bugs(self) -> list[str]:
        """Return the problems except failed requests."""
        return [problem for problem in self.problems if not problem.startswith(REFUSED)]


@pytest.fixture(autouse=True)
def _same_addresses(request: pytest.FixtureRequest) -> Iterator[None]:
    with same_addresses() if request.node.get_closest_marker("browser") else nullcontext():
        yield


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def watched(browser: Browser) -> Iterator[Watched]:
    page = browser.new_page(viewport={"width": 1280, "height": 1000})
    watched = Watched(page)
    yield watched
    print(*watched.problems, *watched.failed, sep="\n")  # pytest shows it if the test failed
    page.close()


@pytest.fixture
def demo(watched: Watched, server: Server) -> Iterator[Page]:
    """Yield the demo page. After the test, check that it had no error and asked no other host."""
    watched.page.goto(server.url + "/demo")
    yield watched.page
    assert watched.bugs == []
    assert watched.hosts <= {urlsplit(server.url).netloc, ""}, "a blob: URL has no host"
