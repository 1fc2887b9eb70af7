"""Thousands of odd requests: `python -m tests.fuzz.requests --examples 5000`.

Forms and prefixes are sent to the application in this process, request targets over a socket to a server. Exits with an
error at the first answer that contradicts the contract.
"""

import argparse
import socket
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from http.client import HTTPResponse
from pathlib import Path
from urllib.parse import urljoin, urlsplit

from flask.testing import FlaskClient
from hypothesis import strategies as st

from flaskapp import create_app
from tests.benchmarks.process import serving
from tests.benchmarks.table import print_table
from tests.fuzz.forms import Form, forms
from tests.fuzz.fuzzing import fuzz
from tests.fuzz.targets import METHODS, prefixes, targets

HOST = "flaskapp.example"
REFUSED = (400, 413, 415, 422)


def send_form(client: FlaskClient, path: str, form: Form) -> str:
    """Send a form. Return the status: 200, or one of a bad form's four with a reason."""
    answer = client.post(path, data=form.body, headers=form.headers)
    assert answer.status_code == 200 or answer.status_code in REFUSED, answer.text
    if form.is_whole:
        assert answer.status_code == 200, answer.text
    if answer.status_code != 200:
        body = answer.get_json()
        assert body["code"] == answer.status_code
        assert body.get("message") or body.get("errors"), body
    if answer.status_code == 415 and "Content-Encoding" in str(answer.get_json()):
        assert answer.headers["Accept-Encoding"] == "identity"
    return str(answer.status_code)


def send_target(url: str, method: str, target: str) -> str:
    """Send a request target. Return the status: never a server error, never a redirect to another host."""
    address = urlsplit(url)
    head = f"{method} {target} HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n"
    with socket.create_connection((address.hostname or "", address.port or 0), timeout=30) as sock:
        sock.sendall(head.encode())
        answer = HTTPResponse(sock, method=method)
        answer.begin()
        answer.read()
    assert answer.status < 500 or answer.status == 501, (method, target, answer.status)
    check_location(answer.headers.get("Location", ""))
    return str(answer.status)


def send_prefix(client: FlaskClient, prefix: str) -> str:
    """Send a proxy's prefix. Return whether it is accepted: never one that leads to another host."""
    headers = {"X-Forwarded-Prefix": prefix}
    (server,) = client.get("/openapi.json", headers=headers).get_json()["servers"]
    check_location(server["url"])
    check_location(client.get("/docs", headers=headers).headers["Location"])
    return "ignored" if server["url"] == "./" else "accepted"


def check_location(location: str) -> None:
    assert urlsplit(urljoin(f"http://{HOST}/", location)).netloc == HOST, location
    assert "\\" not in location


def fuzz_all(client: FlaskClient, url: str, examples: int, number: int) -> Counter[tuple[str, str]]:
    """Return counts of outcomes by kind of request. The client's application must trust a proxy.

    Captions, which take longer, get a fifth of the examples.
    """
    outcomes: Counter[tuple[str, str]] = Counter()

    def count(kind: str, share: float, check: Callable[..., str], *strategies: st.SearchStrategy[object]) -> None:
        fuzz(lambda *values: outcomes.update([(kind, check(*values))]), int(examples * share), number, *strategies)

    count("form to /cv_model/", 1, lambda form: send_form(client, "/cv_model/?w=8&h=8", form), forms())
    count("form to /caption/", 0.2, lambda form: send_form(client, "/caption/", form), forms())
    count("target", 1, lambda *values: send_target(url, *values), st.sampled_from(METHODS), targets())
    count("X-Forwarded-Prefix", 1, lambda prefix: send_prefix(client, prefix), prefixes())
    return outcomes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--examples", type=int, default=2000, help="examples of each kind; captions get a fifth")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = {"CAPTIONER_MODEL": "embedded"}
        database = f"sqlite:///{folder / 'fuzz.db'}"
        client = create_app(model | {"DATABASE_URL": database, "TRUSTED_PROXIES": 1}).test_client()
        command = "gunicorn --bind 127.0.0.1:{port} wsgi:app"
        variables = {f"FLASKAPP_{name}": value for name, value in model.items()}
        with serving(command, Path(sys.executable).parent, folder / "server.log", variables) as server:
            outcomes = fuzz_all(client, server.url, options.examples, options.seed)
    rows = [[kind, outcome, str(count)] for (kind, outcome), count in sorted(outcomes.items())]
    print_table(f"Odd requests, seed {options.seed}", ["", "outcome", "requests"], rows)


if __name__ == "__main__":
    main()
