"""Overload with many clients at once: `python -m tests.benchmarks.overload --clients 500`.

Starts the bare `gunicorn wsgi:app` with the embedded model and two workers, and sends to 127.0.0.1 alone: one caption
for each client, all at once, while one more client repeats `GET /`. Prints the latencies of each status and of `GET /`,
and how soon after the last answer a caption is as fast as before.
"""

import argparse
import json
import selectors
import socket
import statistics
import sys
import tempfile
import threading
import time
from collections import defaultdict
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import requests
from urllib3 import encode_multipart_formdata

from tests.benchmarks.process import ROOT, serving
from tests.benchmarks.table import print_table

COMMAND = "gunicorn --bind 127.0.0.1:{port} --workers 2 wsgi:app"
STAR = ROOT / "tests" / "assets" / "star.png"
LONG = {"max_length": 48, "min_length": 48, "num_beams": 16}
INTERVAL = 0.05  # seconds between two requests of `GET /`
NORMAL_RATIO = 1.5  # to the seconds before: up to this, a caption is as fast as before
TIMEOUT = 60  # seconds

Times = dict[str, list[float]]  # seconds by status


class Probe(threading.Thread):
    """Repeats `GET /` until it is stopped, with a new connection each time."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self._url = url
        self._is_over = threading.Event()
        self.times: Times = defaultdict(list)

    def run(self) -> None:
        while not self._is_over.wait(INTERVAL):
            began = time.perf_counter()
            status = str(requests.get(self._url, timeout=TIMEOUT).status_code)
            self.times[status].append(time.perf_counter() - began)

    def stop(self) -> Times:
        self._is_over.set()
        self.join()
        return self.times


def request_bytes() -> bytes:
    """Return the bytes of a request for one long caption. They are encoded once, so that clients cost little."""
    form = {"data": (STAR.name, STAR.read_bytes()), "config": json.dumps(LONG)}
    body, content_type = encode_multipart_formdata(form)
    head = f"POST /caption/ HTTP/1.1\r\nHost: x\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def flood(url: str, clients: int) -> Times:
    """Return the seconds of each answer from the connection on, by status; "none" for no answer."""
    address = urlsplit(url)
    message = request_bytes()
    times: Times = defaultdict(list)
    began: dict[socket.socket, float] = {}
    with ExitStack() as stack, selectors.DefaultSelector() as selector:
        for _ in range(clients):
            started = time.perf_counter()
            client = stack.enter_context(socket.create_connection((address.hostname, address.port), TIMEOUT))
            client.sendall(message)
            began[client] = started
            selector.register(client, selectors.EVENT_READ)
        while began:
            ready = selector.select(TIMEOUT) or sys.exit(f"{len(began)} clients had no answer in {TIMEOUT} seconds")
            for key, _ in ready:
                client = key.fileobj  # type: ignore[assignment]
                status = client.recv(4096).partition(b" ")[2][:3].decode() or "none"
                times[status].append(time.perf_counter() - began.pop(client))
                selector.unregister(client)
    return times


def seconds_of_a_caption(url: str) -> float:
    began = time.perf_counter()
    form = {"data": STAR.read_bytes(), "config": (None, json.dumps(LONG))}
    requests.post(url + "/caption/", files=form, timeout=TIMEOUT).raise_for_status()
    return time.perf_counter() - began


def seconds_until_normal(url: str, normal: float) -> float:
    began = time.perf_counter()
    while seconds_of_a_caption(url) > NORMAL_RATIO * normal:
        pass
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=500)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        variables = {"FLASKAPP_CAPTIONER_MODEL": "embedded"}
        with serving(COMMAND, Path(sys.executable).parent, Path(folder) / "server.log", variables) as server:
            normal = statistics.median([seconds_of_a_caption(server.url) for _ in range(12)])
            probe = Probe(server.url)
            probe.start()
            answers = flood(server.url, options.clients)
            until_normal = seconds_until_normal(server.url, normal)
            gets = probe.stop()
    rows = [row(f"POST /caption/: {status}", seconds) for status, seconds in sorted(answers.items())]
    rows += [row(f"GET /: {status}", seconds) for status, seconds in sorted(gets.items())]
    print_table(f"{options.clients} clients at once", ["", "answers", "p50, s", "p99, s", "slowest, s"], rows)
    print(f"\nA caption takes as long as before ({normal:.2f} s) {until_normal:.1f} s after the last answer.")


def row(name: str, seconds: list[float]) -> list[str]:
    ordered = sorted(seconds)
    p99 = ordered[int(0.99 * len(ordered))]
    return [name, str(len(ordered)), *(f"{each:.2f}" for each in (statistics.median(ordered), p99, ordered[-1]))]


if __name__ == "__main__":
    main()
