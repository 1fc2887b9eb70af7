"""The parts of compose.yaml that run without containers: nginx in front of two servers."""

import http.client
import json
import os
import re
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.benchmarks.process import process_tree
from tests.conftest import ASSETS, Server, assert_error
from tests.free_port import free_port
from tests.nginx import COMPOSE, Nginx, started_nginx

pytestmark = pytest.mark.nginx

ADDRESSES = ("127.0.0.2", "127.0.0.3")
MIB = 2**20


@pytest.fixture(scope="module")
def start_replicas(start_server: Callable[..., Server]) -> Callable[..., tuple[int, list[Server]]]:
    def start(**variables: str) -> tuple[int, list[Server]]:
        """Start two servers like compose.yaml's, without shared services. Return their port and the servers."""
        port = free_port()
        proxies = COMPOSE["services"]["web"]["environment"]["FLASKAPP_TRUSTED_PROXIES"]
        default = re.fullmatch(r"\$\{FLASKAPP_TRUSTED_PROXIES:-(\d+)\}", proxies)
        assert default is not None
        return port, [
            start_server(
                command=f"gunicorn --workers 1 --bind {address}:{port} wsgi:app",
                FLASKAPP_TRUSTED_PROXIES=default[1],
                **variables,
            )
            for address in ADDRESSES
        ]

    return start


@pytest.fixture(scope="module")
def nginx(start_replicas: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nginx]:
    port, _ = start_replicas(FLASKAPP_RATE_LIMIT_LOGIN="3/minute")
    with started_nginx(tmp_path_factory.mktemp("nginx"), ADDRESSES, port) as nginx:
        yield nginx


def caption(nginx: Nginx) -> requests.Response:
    return requests.post(nginx.url + "/caption/", files={"data": (ASSETS / "star.png").read_bytes()}, timeout=60)


def login(nginx: Nginx, address: str, forged: str) -> int:
    """Return the status of a login from an address with a forged one in its header."""
    connection = http.client.HTTPConnection("127.0.0.1", nginx.port, timeout=60, source_address=(address, 0))
    body = json.dumps({"username": "ada", "password": "correct horse"})
    headers = {"Content-Type": "application/json", "X-Forwarded-For": forged}
    connection.request("POST", "/login/", body, headers)
    status = connection.getresponse().status
    connection.close()
    return status


def send_signal(server: Server, number: signal.Signals) -> None:
    for process in process_tree(server.process.pid):
        os.kill(process, number)


def test_an_image_is_captioned_through_the_proxy(nginx: Nginx) -> None:
    answer = caption(nginx)
    assert answer.json()["caption"] == "a large pink star on a yellow background"
    assert answer.headers["Server"] == "nginx"


def test_a_slightly_too_large_body_is_refused_by_the_application_and_a_huge_one_by_nginx(
    nginx: Nginx,
) -> None:
    for size, has_reached_the_application in {16 * MIB + 1: True, 18 * MIB: False}.items():
        answer = requests.post(nginx.url + "/caption/", files={"data": b"\0" * size}, timeout=60)
        assert_error(answer, 413)
        assert ("X-Request-ID" in answer.headers) is has_reached_the_application


def test_errors_of_nginx_have_the_shape_of_errors(nginx: Nginx) -> None:
    assert_error(requests.get(nginx.url + "/" + "a" * 10_000, timeout=60), 414)
    assert_error(requests.get(nginx.url + "/", headers={"X-A": "a" * 10_000}, timeout=60), 431)


def test_a_method_refused_by_nginx_gets_json(nginx: Nginx) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", nginx.port, timeout=60)
    connection.request("TRACE", "/")
    answer = connection.getresponse()
    assert (answer.status, json.loads(answer.read())) == (405, {"code": 405, "status": "Method Not Allowed"})
    connection.close()


@pytest.mark.parametrize("path", ["/metrics", "/metrics/", "//metrics", "/%6Detrics", "/items/../metrics"])
def test_the_metrics_are_not_readable_through_the_proxy(nginx: Nginx, path: str) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", nginx.port, timeout=60)
    connection.request("GET", path)
    answer = connection.getresponse()
    assert (answer.status, json.loads(answer.read())["code"]) == (404, 404)
    connection.close()


def test_clients_are_distinguished_by_address_and_not_by_forged_headers(nginx: Nginx) -> None:
    statuses = [login(nginx, "127.0.0.1", forged=f"10.0.0.{number}") for number in range(10)]
    assert 429 in statuses, "one of the two servers got more than three logins"
    assert login(nginx, "127.0.0.9", forged="127.0.0.1") == 200


def test_a_killed_server_loses_no_caption(start_replicas: Any, tmp_path: Path) -> None:
    port, (victim, _) = start_replicas()
    with started_nginx(tmp_path, ADDRESSES, port) as nginx, ThreadPoolExecutor(16) as clients:
        send_signal(victim, signal.SIGSTOP)
        asked = [clients.submit(caption, nginx) for _ in range(16)]
        _, hanging = wait(asked, timeout=60, return_when=FIRST_COMPLETED)
        assert hanging
        send_signal(victim, signal.SIGKILL)
        statuses = [each.result().status_code for each in asked]
        statuses += [caption(nginx).status_code for _ in range(16)]
        statuses += [requests.get(nginx.url + "/items/5", timeout=60).status_code for _ in range(16)]
        assert set(statuses) == {200}


def test_no_log_of_the_proxy_has_a_query_string_or_a_referer(nginx: Nginx, tmp_path: Path) -> None:
    """The requests are answered, refused by nginx, or find no server."""
    canary = "username=eve&password=canary"
    with started_nginx(tmp_path, ADDRESSES, free_port()) as alone:
        for url in (nginx.url, alone.url):
            referer = {"Referer": f"{url}/login/?{canary}"}
            for path in ("/login", "/login/", "//login/", "/%6Cogin/", "/caption/", "/nowhere", "/metrics"):
                requests.post(f"{url}{path}?{canary}", headers=referer, timeout=60)
            requests.post(f"{url}/login/?{canary}", data=b"a" * 18 * MIB, headers=referer, timeout=60)
            requests.get(f"{url}/login/?{canary}{'a' * 10_000}", timeout=60)
            requests.get(f"{url}/login/?{canary}", headers={"X-A": "a" * 10_000}, timeout=60)
        lines = nginx.log.read_text() + alone.log.read_text()
    assert "canary" not in lines
    assert re.search(r'"POST /login/ HTTP/1.1" 200 .* upstream="127.0.0.[23]:\d+" upstream_status="200" \S', lines)
    assert re.search(r'"POST /login/ HTTP/1.1" 503 .* upstream_status="502(, 502)?"', lines)


def test_without_a_server_clients_get_a_503_with_retry_after(tmp_path: Path) -> None:
    with started_nginx(tmp_path, ADDRESSES, free_port()) as nginx:
        answer = caption(nginx)
    assert_error(answer, 503)
    assert int(answer.headers["Retry-After"]) > 0
