"""Fetching images from URLs: only from allowed public hosts, whatever a client or the DNS says."""

import http.server
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import pytest
from flask import Flask

from flaskapp import fetch
from flaskapp.errors import NotFetched
from flaskapp.fetch import Allowance, is_public
from tests.api.compatible.images import STAR
from tests.api.compatible.test_openai import content, post, user
from tests.conftest import ASSETS, assert_error
from tests.test_trace_context import TRACE_ID, TRACEPARENT
from tests.tls import Certificate, certificate, serving

__all__ = ["certificate"]  # a fixture

LOCAL = "127.0.0.1"


class Images(http.server.BaseHTTPRequestHandler):
    """A host with an image, redirects, endless answers and errors."""

    paths: ClassVar[list[str]] = []
    traceparents: ClassVar[list[str | None]] = []
    wfile: Any

    def do_GET(self) -> None:
        Images.paths.append(self.path)
        Images.traceparents.append(self.headers["traceparent"])
        if self.path.startswith("/elsewhere"):
            self.send_response(302)
            self.send_header("Location", "/star.png")
            self.end_headers()
        elif self.path.startswith("/large"):
            self.send_response(200)
            self.end_headers()
            while True:
                self.wfile.write(bytes(1 << 16))
        elif self.path.startswith("/slow"):
            self.wfile.write(b"HTTP/1.0 200 OK\r\n" + b"\r\n" * self.path.endswith("body"))
            while True:  # until the client hangs up
                self.wfile.write(b"x")
                threading.Event().wait(0.05)
        elif self.path.startswith("/star.png"):
            self.send_response(200)
            self.end_headers()
            self.wfile.write((ASSETS / "star.png").read_bytes())
        else:
            self.send_error(404)

    def log_message(self, *_: Any) -> None:
        """Log nothing: the tests read `paths`."""


@pytest.fixture
def port(certificate: Certificate) -> Iterator[int]:
    """Yield the port of a TLS server with these images."""
    Images.paths.clear()
    Images.traceparents.clear()
    with serving(Images, certificate) as port:
        yield port


@pytest.fixture
def public(monkeypatch: pytest.MonkeyPatch, certificate: Certificate) -> None:
    """Make this machine a public host with a trusted certificate."""
    monkeypatch.setattr(fetch, "is_public", lambda address: address == LOCAL)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))
    resolve = socket.getaddrinfo
    monkeypatch.setattr(socket, "getaddrinfo", lambda host, *rest, **options: resolve(LOCAL, *rest, **options))


def get(url: str, *hosts: str, most: int = 1 << 20) -> bytes:
    return fetch.fetch(url, Allowance(hosts, most))


@pytest.mark.usefixtures("public")
def test_a_file_of_an_allowed_host_is_fetched_with_its_query(port: int) -> None:
    assert (
        get(f"https://localhost:{port}/star.png?size=large&x=%20", f"localhost:{port}")
        == (ASSETS / "star.png").read_bytes()
    )
    assert Images.paths == ["/star.png?size=large&x=%20"]


@pytest.mark.usefixtures("public")
@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://localhost:{port}/star.png", "only https: addresses"),
        ("https://ada:secret@localhost:{port}/star.png", "with a login"),
        ("https://elsewhere.example:{port}/star.png", "does not fetch from that host"),
        ("https://localhost.elsewhere.example:{port}/star.png", "does not fetch from that host"),
        ("https://localhost:{port}@elsewhere.example/star.png", "with a login"),
        ("https://localhost/star.png", "does not fetch from that host"),
        ("https://localhost:x/star.png", "not an address"),
        ("https:///star.png", "does not fetch from that host"),
        ("https://127.0.0.1:{port}/star.png", "does not fetch from that host"),
        ("https://loc\u00e4lhost:{port}/star.png", "does not fetch from that host"),
    ],
)
def test_a_url_that_is_not_allowed_is_not_requested(port: int, url: str, why: str) -> None:
    with pytest.raises(NotFetched, match=why):
        get(url.format(port=port), f"localhost:{port}")
    assert Images.paths == []


@pytest.mark.usefixtures("public")
@pytest.mark.parametrize(("path", "why"), [("/elsewhere", "answers 302"), ("/missing", "answers 404")])
def test_errors_and_redirects_of_the_host_are_refused(port: int, path: str, why: str) -> None:
    with pytest.raises(NotFetched, match=why):
        get(f"https://localhost:{port}{path}", f"localhost:{port}")
    assert Images.paths == [path]


@pytest.mark.usefixtures("public")
def test_all_files_of_a_request_together_have_a_size_limit(port: int) -> None:
    with pytest.raises(NotFetched, match="more bytes there than"):
        get(f"https://localhost:{port}/large", f"localhost:{port}")
    size = len((ASSETS / "star.png").read_bytes())
    allowance = Allowance([f"localhost:{port}"], size + 1)
    assert fetch.fetch(f"https://localhost:{port}/star.png", allowance)
    with pytest.raises(NotFetched, match="more bytes there than"):
        fetch.fetch(f"https://localhost:{port}/star.png", allowance)


@pytest.mark.usefixtures("public")
@pytest.mark.parametrize("path", ["/large", "/slow/body", "/slow/head"])
def test_an_endless_answer_ends_at_the_deadline(port: int, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch, "DEADLINE", 0.5)
    with pytest.raises(NotFetched, match="did not answer in time"):
        get(f"https://localhost:{port}{path}", f"localhost:{port}", most=1 << 40)


@pytest.mark.usefixtures("public")
def test_a_host_may_be_allowed_with_several_ports(port: int) -> None:
    assert get(f"https://localhost:{port}/star.png", "localhost", f"localhost:{port}")


@pytest.mark.usefixtures("public")
def test_a_path_cannot_inject_request_headers(port: int) -> None:
    assert get(f"https://localhost:{port}/star.png?a= HTTP/1.0&b=\u00e4", f"localhost:{port}")
    assert Images.paths == ["/star.png?a=%20HTTP/1.0&b=%C3%A4"]


def test_an_untrusted_certificate_is_refused(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch, "is_public", lambda _: True)
    with pytest.raises(NotFetched, match="SSLCertVerificationError"):
        get(f"https://localhost:{port}/star.png", f"localhost:{port}")
    assert Images.paths == []


def test_an_allowed_name_with_a_private_address_is_refused(port: int) -> None:
    with pytest.raises(NotFetched, match="localhost is not a public host"):
        get(f"https://localhost:{port}/star.png", f"localhost:{port}")
    assert Images.paths == []


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "127.8.8.8", "0.0.0.0", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1",
        "198.18.0.1", "192.0.0.1", "224.0.0.1", "240.0.0.1", "255.255.255.255", "::", "::1", "fe80::1", "fe80::1%eth0",
        "fc00::1", "fd00:ec2::254", "ff02::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::7f00:1",
        "64:ff9b::a00:1", "::127.0.0.1", "::ffff:0:127.0.0.1", "64:ff9b:1::7f00:1", "fec0::1", "5f00::1",
        "2002:7f00:1::", "2001:0:4136:e378:8000:63bf:80ff:fffe", "2001:db8::1",
    ],
)  # fmt: skip
def test_private_addresses_are_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", ["1.1.1.1", "93.184.216.34", "2606:4700::1111", "64:ff9b::101:101"])
def test_internet_addresses_are_public(address: str) -> None:
    assert is_public(address)


@pytest.mark.usefixtures("public")
def test_an_image_url_is_captioned_only_if_its_host_is_allowed(make_app: Callable[..., Flask], port: int) -> None:
    url = f"https://localhost:{port}/star.png"
    client = make_app(FETCH_HOSTS=f"images.example.com, LocalHost:{port}").test_client()
    image = {"type": "image_url", "image_url": {"url": url}}
    assert content(post(client, user(image))) == STAR
    assert client.post("/caption/", json={"data": [url, url]}).get_json()["caption"] == STAR
    assert len(Images.paths) == 3
    refused = client.post("/caption/", json={"data": [url, url.replace("localhost", "elsewhere.example")]})
    assert_error(refused, 422, "json", "data", "1")
    assert "does not fetch from that host" in refused.text
    assert_error(make_app().test_client().post("/caption/", json={"data": [url]}), 422, "json", "data", "0")
    assert len(Images.paths) == 4


@pytest.mark.usefixtures("public")
def test_a_fetch_continues_the_trace_of_its_request(make_app: Callable[..., Flask], port: int) -> None:
    client = make_app(FETCH_HOSTS=f"localhost:{port}").test_client()
    body = {"data": [f"https://localhost:{port}/star.png"]}
    for headers in ({"traceparent": TRACEPARENT}, {}):
        assert client.post("/caption/", json=body, headers=headers).status_code == 200
    continued, without = Images.traceparents
    assert continued is not None
    assert continued.startswith(f"00-{TRACE_ID}-")
    assert continued != TRACEPARENT
    assert without is None
