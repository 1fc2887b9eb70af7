"""Requests a second of the light endpoints. Servers alternate, with two workers each."""

import re
import statistics
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import requests

from tests.benchmarks.http.resize import jpeg
from tests.benchmarks.process import serving
from tests.benchmarks.table import print_table

WORKERS, CONNECTIONS, SECONDS = 2, 16, 4
JSON = '{"email": "mlops@gmail.com", "domain_match": "gmail"}'
FORM_HEAD = b'--cut\r\nContent-Disposition: form-data; name="data"; filename="photo.jpg"\r\n\r\n'
FORM_TAIL = b"\r\n--cut--\r\n"

GUNICORN = f"gunicorn --bind 127.0.0.1:{{port}} --workers {WORKERS} "
THEIRS, OURS, EMPTY, FLASK = "FastAPI + uvicorn", "flaskapp", "gunicorn, empty", "Flask alone"
COMMANDS = {
    THEIRS: f"uvicorn --port {{port}} --workers {WORKERS} tests.benchmarks.http.fastapi_app:app",
    OURS: GUNICORN + "wsgi:app",
    EMPTY: GUNICORN + "tests.benchmarks.http.bare_apps:empty_app",
    FLASK: GUNICORN + "tests.benchmarks.http.bare_apps:flask_app",
}


class Call(NamedTuple):
    """One kind of request."""

    name: str
    path: str
    content_type: str = ""
    body: bytes = b""


def run(folder: Path, peers: Path, rounds: int) -> None:
    """Print the median of each server's requests a second, and our ratio to FastAPI."""
    calls = (
        Call("`GET /items/5`", "/items/5"),
        Call("`GET /query_items`", "/query_items?item_id=5"),
        Call("`GET /text_model/`", "/text_model/?data=mlops@gmail.com"),
        Call("`POST /text_model/`", "/text_model/", "application/json", JSON.encode()),
        Call(
            "`POST /cv_model/`, 12 megapixels", "/cv_model/",
            "multipart/form-data; boundary=cut", FORM_HEAD + jpeg() + FORM_TAIL,
        ),
    )  # fmt: skip
    rows = []
    with ExitStack() as stack:
        urls = {}
        for number, (name, command) in enumerate(COMMANDS.items()):
            programs = peers if name == THEIRS else Path(sys.executable).parent
            variables = {"FLASKAPP_CAPTIONER_MODEL": "embedded"}
            log = folder / f"server-{number}.log"
            urls[name] = stack.enter_context(serving(command, programs, log, variables)).url
        for url in urls.values():  # some servers listen before they can answer
            requests.get(url + calls[0].path, timeout=60).raise_for_status()
        for call in calls:
            servers = COMMANDS if call.path == "/items/5" else (THEIRS, OURS)
            rates: dict[str, list[float]] = {name: [] for name in servers}
            for _ in range(rounds):
                for name in servers:
                    rates[name].append(measure(urls[name], call, folder))
            ratio = statistics.median(ours / theirs for ours, theirs in zip(rates[OURS], rates[THEIRS], strict=True))
            cells = [f"{statistics.median(rates[name]):.0f}" if name in rates else "" for name in COMMANDS]
            rows.append([call.name, *cells, f"{ratio:.2f}x"])
    print_table(
        f"Requests a second, {WORKERS} workers each, {CONNECTIONS} connections",
        ["", *COMMANDS, f"{OURS} / FastAPI"],
        rows,
    )


def measure(url: str, call: Call, folder: Path) -> float:
    """Return requests a second, measured by wrk. Raise an error if an answer is no success."""
    script, body = folder / "call.lua", folder / "body"
    body.write_bytes(call.body)
    script.write_text(
        f'wrk.method = "POST"\nwrk.headers["Content-Type"] = "{call.content_type}"\n'
        f'wrk.body = io.open("{body}", "rb"):read("*a")\n'
        if call.body
        else ""
    )
    command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{SECONDS}s", "-s", script, url + call.path]
    report = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    rate = re.search(r"Requests/sec:\s+([\d.]+)", report)
    if rate is None or "Non-2xx" in report or "Socket errors" in report:
        raise RuntimeError(f"{call.name} at {url} failed:\n{report}")
    return float(rate[1])
