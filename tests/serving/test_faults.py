"""Faults of a running server: killed workers, a full disk, too many clients."""

import io
import json
import os
import resource
import selectors
import signal
import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from http.client import HTTPConnection, RemoteDisconnected
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests
from PIL import Image
from urllib3 import encode_multipart_formdata

from tests.conftest import ASSETS, Server, assert_error
from tests.photograph import photograph
from tests.serving.servers import log_in, post_star, workers_of

TIMEOUT = 60  # seconds
LONG = json.dumps({"max_length": 48, "min_length": 48, "num_beams": 16})


def long_caption() -> tuple[bytes, str]:
    """Return the body and content type of a long caption request."""
    form = {"data": ("star.png", (ASSETS / "star.png").read_bytes()), "config": LONG}
    return encode_multipart_formdata(form)


@contextmanager
def in_flight(server: Server, number: int) -> Iterator[list[HTTPConnection]]:
    """Yield connections with caption requests that the server has started to read."""
    assert post_star(server.url).status_code == 200  # until the first batch is measured, only 16 images may wait
    body, content_type = long_caption()
    with ExitStack() as stack:
        connections = [HTTPConnection(urlsplit(server.url).netloc, timeout=TIMEOUT) for _ in range(number)]
        for connection in connections:
            stack.callback(connection.close)
            connection.request("POST", "/caption/", body, {"Content-Type": content_type})
        requests.get(server.url + "/items/5", timeout=TIMEOUT)  # accepted last: all others have been accepted
        yield connections


def test_a_killed_worker_loses_only_its_own_requests(
    start_server: Callable[..., Server],
) -> None:
    server = start_server("--workers", "2", FLASKAPP_CAPTIONER_DEADLINE="120")
    server.wait_for("Booting worker", times=2)
    assert log_in(server, "ada").json() == "login saved"
    with in_flight(server, 24) as connections:
        os.kill(workers_of(server)[0], signal.SIGKILL)
        ends: Counter[object] = Counter()
        for connection in connections:
            try:
                ends[connection.getresponse().status] += 1
            except (ConnectionResetError, RemoteDisconnected):
                ends["reset"] += 1
    assert ends[200] >= 1, "requests of the other worker are answered"
    assert ends["reset"] >= 1, "requests of the killed worker are not"
    assert ends.keys() == {200, "reset"}
    server.wait_for("Booting worker", times=3)
    assert post_star(server.url).status_code == 200
    assert_error(log_in(server, "ada", "another password"), 401)


def test_a_graceful_stop_finishes_requests_in_flight(start_server: Callable[..., Server]) -> None:
    server = start_server(FLASKAPP_CAPTIONER_DEADLINE="120")  # also on a busy machine
    with in_flight(server, 20) as connections:
        server.process.terminate()
        assert [connection.getresponse().status for connection in connections] == [200] * 20
        assert server.process.wait(40) == 0
        with pytest.raises(requests.ConnectionError):
            requests.get(server.url, timeout=TIMEOUT)


def count_ends(server: Server) -> Counter[str]:
    """Send light requests, each with a new connection, until the server refuses one. Count how they end."""
    ends: Counter[str] = Counter()
    while not ends["refused"]:
        connection = HTTPConnection(urlsplit(server.url).netloc, timeout=TIMEOUT)
        try:
            connection.request("GET", "/items/5")
            ends[str(connection.getresponse().status)] += 1
        except ConnectionRefusedError:
            ends["refused"] += 1
        except TimeoutError:
            ends["time-out"] += 1
        except OSError:
            ends["reset"] += 1
        finally:
            connection.close()
    return ends


def test_a_graceful_stop_answers_connections_that_it_has_not_accepted(start_server: Callable[..., Server]) -> None:
    server = start_server("--workers", "2")
    with ThreadPoolExecutor(8) as pool:
        senders = [pool.submit(count_ends, server) for _ in range(8)]
        server.wait_for('"GET /items/5 HTTP/1.1" 200', times=100)
        server.process.terminate()
        ends = sum((sender.result(TIMEOUT) for sender in senders), Counter())
    assert ends["reset"] < 4, "only in the instant between the last accept and the listener's end"
    assert ends.keys() <= {"200", "refused", "reset"}


RELOADS = 2


def resident(process: int) -> int:
    """Return a process's resident memory in bytes."""
    pages = Path(f"/proc/{process}/statm").read_text().split()[1]
    return int(pages) * resource.getpagesize()


def test_reloads_refuse_no_request_and_do_not_grow_the_master_s_memory(
    start_server: Callable[..., Server],
) -> None:
    server = start_server("--workers", "2")
    server.wait_for("Booting worker", times=2)
    is_over = threading.Event()

    def keep_asking() -> Counter[int]:
        """Send about twenty requests a second on one connection."""
        with requests.Session() as session:
            answers: Counter[int] = Counter()
            while not is_over.wait(0.05):
                answers[session.get(server.url, timeout=TIMEOUT).status_code] += 1
            return answers

    sizes = []
    with ThreadPoolExecutor(4) as clients:
        asking = [clients.submit(keep_asking) for _ in range(4)]
        for _ in range(RELOADS):
            before = set(workers_of(server))
            server.process.send_signal(signal.SIGHUP)
            while before & set(workers_of(server)):
                assert post_star(server.url).status_code == 200
            sizes.append(resident(server.process.pid))
        is_over.set()
        answers = sum((each.result(TIMEOUT) for each in asking), Counter[int]())
    assert set(answers) == {200}
    assert sizes[-1] < 1.1 * sizes[0], f"bytes of the master after each reload: {sizes}"


def test_a_full_disk_loses_no_acknowledged_login_and_no_upload(
    start_server: Callable[..., Server],
) -> None:
    server = start_server("--workers", "1")
    (worker,) = workers_of(server)
    assert log_in(server, "ada").json() == "login saved"
    resource.prlimit(worker, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))  # no file can be written to
    assert_error(log_in(server, "bob"), 503)
    assert log_in(server, "ada").json() == "login saved", "reading needs no space"
    upload = io.BytesIO()
    photograph(1000, 750).save(upload, "PNG")
    assert len(upload.getvalue()) > 500_000, "large enough for a temporary file"
    files = {"data": ("photo.png", upload.getvalue())}
    assert requests.post(server.url + "/cv_model/", files=files, timeout=TIMEOUT).status_code == 200
    resource.prlimit(worker, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert log_in(server, "bob").json() == "login saved"
    assert_error(log_in(server, "ada", "another password"), 401)


def peak(process: int) -> int:
    """Return a process's peak memory in bytes."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))


@pytest.mark.slow
def test_eight_large_images_need_hardly_more_memory_than_one(
    start_server: Callable[..., Server],
) -> None:
    server = start_server("--workers", "1")
    (worker,) = workers_of(server)
    large = io.BytesIO()
    Image.new("RGB", (7000, 7000)).save(large, "PNG")

    def post(path: str) -> requests.Response:
        return requests.post(server.url + path, files={"data": ("large.png", large.getvalue())}, timeout=TIMEOUT)

    alone = [post(path).status_code for path in ("/cv_model/", "/caption/")]
    before = peak(worker)
    with ThreadPoolExecutor(8) as clients:
        together = list(clients.map(post, ["/cv_model/", "/caption/"] * 4))
    assert alone == [200, 200]
    assert {answer.status_code for answer in together} <= {200, 503}
    assert all("Retry-After" in answer.headers for answer in together if answer.status_code == 503)
    assert peak(worker) - before < 400_000_000, "two more at a time, with 147 MB each as RGB, would exceed this"


@pytest.mark.slow
def test_each_of_five_hundred_clients_gets_a_caption_or_a_retry_after(
    start_server: Callable[..., Server],
) -> None:
    server = start_server()
    body, content_type = long_caption()
    head = f"POST /caption/ HTTP/1.1\r\nHost: x\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\n\r\n"
    address = urlsplit(server.url)
    with ExitStack() as stack, selectors.DefaultSelector() as selector:
        for _ in range(500):
            client = stack.enter_context(socket.create_connection((str(address.hostname), address.port or 0)))
            client.sendall(head.encode() + body)
            selector.register(client, selectors.EVENT_READ)
        answers: Counter[bytes] = Counter()
        for _ in range(500):
            assert requests.get(server.url, timeout=30).status_code == 200
            while selector.get_map():
                ready = selector.select(0.2)
                if not ready:
                    break
                for key, _events in ready:
                    client = key.fileobj  # type: ignore[assignment]
                    answer = client.recv(2**16)
                    selector.unregister(client)
                    status = answer.split(b" ", 2)[1]
                    answers[status] += 1
                    assert status == b"200" or b"Retry-After: " in answer, answer
        assert answers.total() == 500
    assert set(answers) == {b"200", b"503"}, answers
    assert answers[b"200"] >= 16, "the batch that may wait until the first one has been measured"
    assert post_star(server.url).status_code == 200
