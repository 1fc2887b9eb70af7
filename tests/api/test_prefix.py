"""The server under `/captions/`: by SCRIPT_NAME, or behind an nginx that strips the prefix, and may send a header."""

from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from urllib.parse import urljoin, urlsplit

import pytest
import requests
from flask import Flask
from playwright.sync_api import expect

from tests.api.conftest import Watched
from tests.api.demo_page import CIRCLE_AND_DIAMOND, STAR, choose, expect_caption
from tests.conftest import ASSETS, Server, assert_error
from tests.free_port import free_port
from tests.nginx import running_nginx
from tests.polling import wait_until

PREFIX = "/captions"
SERVER = """
server {{
    listen 127.0.0.1:{port};
    location /captions/ {{
        proxy_pass http://{web}/;
        {more}
    }}
}}
"""
PREFIX_HEADER = f"proxy_set_header X-Forwarded-Prefix {PREFIX};"
REWRITTEN_REDIRECTS = f"proxy_redirect / {PREFIX}/;"  # nginx completes the Location headers itself


@pytest.fixture(scope="module")
def web(start_server: Callable[..., Server]) -> Server:
    return start_server("--workers", "1", FLASKAPP_TRUSTED_PROXIES="1")


@pytest.fixture(
    scope="module",
    params=[
        "SCRIPT_NAME",
        pytest.param(PREFIX_HEADER, marks=pytest.mark.nginx, id="X-Forwarded-Prefix"),
        pytest.param(REWRITTEN_REDIRECTS, marks=pytest.mark.nginx, id="stripped"),
    ],
)
def base(
    request: pytest.FixtureRequest, start_server: Callable[..., Server], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """Yield the URL of `/` as clients see it, without its last slash."""
    if request.param == "SCRIPT_NAME":
        server = start_server("--workers", "1", SCRIPT_NAME=PREFIX)
        wait_until_ready(server.url + PREFIX)
        yield server.url + PREFIX
        return
    port, web = free_port(), urlsplit(request.getfixturevalue("web").url).netloc
    configuration = SERVER.format(port=port, web=web, more=request.param)
    with running_nginx(tmp_path_factory.mktemp("nginx"), port, configuration) as nginx:
        wait_until_ready(nginx.url + PREFIX)
        yield nginx.url + PREFIX


def wait_until_ready(base: str) -> None:
    """Poll `/readyz`: on a busy machine a worker's first connection to the database takes longer than it waits."""
    wait_until(lambda: requests.get(f"{base}/readyz", timeout=30).ok)


class Links(HTMLParser):
    """Collects the URLs that a page loads or links to."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self.url = url
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = ("src", "href", "data-spec", "data-sample")
        self.found += [urljoin(self.url, value) for name, value in attrs if name in names and value]


@pytest.mark.parametrize("path", ["/livez", "/livez/", "/readyz", "/v2/health/ready", "/metrics", "/", "/items/5"])
def test_every_route_is_under_the_prefix(base: str, path: str) -> None:
    answer = requests.get(base + path, timeout=30)
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize("page", ["/demo", "/demo/", "/swagger-ui", "/swagger-ui/", "/redoc", "/redoc/"])
def test_every_url_in_a_page_is_under_the_prefix(base: str, page: str) -> None:
    links = Links(base + page)
    links.feed(requests.get(base + page, timeout=30).text)
    assert len(links.found) >= 4
    for url in links.found:
        assert url.startswith(base + "/"), url
        assert requests.get(url, timeout=30).status_code == 200, url


@pytest.mark.parametrize("path", ["/openapi.json", "/openapi.json/"])
def test_the_server_in_the_openapi_document_is_the_prefix(base: str, path: str) -> None:
    (server,) = requests.get(base + path, timeout=30).json()["servers"]
    assert urljoin(base + path, server["url"]).rstrip("/") == base


@pytest.mark.parametrize("path", ["/docs", "/docs/"])
def test_docs_redirects_to_swagger_ui_under_the_prefix(base: str, path: str) -> None:
    answer = requests.get(base + path, timeout=30)
    assert (answer.url, answer.status_code) == (base + "/swagger-ui", 200)


@pytest.mark.parametrize("path", ["/caption_jobs", "/caption_jobs/"])
def test_the_location_of_a_job_is_under_the_prefix(base: str, path: str) -> None:
    answer = requests.post(base + path, files={"data": (ASSETS / "star.png").read_bytes()}, timeout=30)
    url = urljoin(base + path, answer.headers["Location"])
    assert url == f"{base}/caption_jobs/{answer.json()['id']}"
    assert requests.get(url, timeout=30).json()["id"] == answer.json()["id"]


@pytest.mark.browser
def test_swagger_ui_calls_the_server_under_the_prefix(watched: Watched, base: str) -> None:
    watched.page.goto(base + "/swagger-ui")
    operation = watched.page.locator("[id^=operations-status-get]").first
    operation.locator("button.opblock-summary-control").click()
    with watched.page.expect_request(base + "/"):
        operation.locator("button.execute").click()
    status = operation.locator(".live-responses-table .response-col_status").nth(1)
    expect(status).to_contain_text("200")
    assert watched.problems == []


@pytest.mark.browser
def test_the_demo_page_works_under_the_prefix(watched: Watched, base: str) -> None:
    page = watched.page
    page.goto(base + "/demo")
    choose(page, ASSETS / "star.png")
    expect_caption(page, "star.png", STAR)
    page.get_by_label("Caption them as one job").check()
    choose(page, ASSETS / "circle_and_diamond.png")
    expect_caption(page, "circle_and_diamond.png", CIRCLE_AND_DIAMOND)
    assert watched.bugs == []


def test_paths_outside_the_prefix_are_not_found(start_server: Callable[..., Server]) -> None:
    server = start_server("--workers", "1", SCRIPT_NAME=PREFIX)
    for path in ("/livez", "/captionsx/livez", "/captionslivez", "/captions//livez"):
        assert_error(requests.get(server.url + path, timeout=30), 404)
    server.stop()


def test_a_prefix_header_counts_only_from_a_trusted_proxy(make_app: Callable[..., Flask]) -> None:
    headers = {"X-Forwarded-Prefix": "/captions/"}
    for proxies, server in {0: "./", 1: "/captions"}.items():
        client = make_app(TRUSTED_PROXIES=proxies).test_client()
        assert client.get("/openapi.json", headers=headers).get_json()["servers"] == [{"url": server}]


@pytest.mark.parametrize(
    "prefix",
    ["//evil.example", "https://evil.example", "/\\evil.example", "evil", "/a//b", "/../a", "/a b", "/%2F", "", "/"],
)
def test_an_invalid_prefix_is_ignored(make_app: Callable[..., Flask], prefix: str) -> None:
    client = make_app(TRUSTED_PROXIES=1).test_client()
    answer = client.get("/openapi.json", headers={"X-Forwarded-Prefix": prefix})
    assert answer.get_json()["servers"] == [{"url": "./"}]


def test_the_prefix_of_the_nearest_proxy_counts(make_app: Callable[..., Flask]) -> None:
    client = make_app(TRUSTED_PROXIES=2).test_client()
    answer = client.get("/openapi.json", headers={"X-Forwarded-Prefix": "//evil.example, /captions"})
    assert answer.get_json()["servers"] == [{"url": "/captions"}]
