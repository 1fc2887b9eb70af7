"""Mixed traffic over minutes, a tenth of it bad: `python -m tests.benchmarks.soak --minutes 10`.

Starts the bare `gunicorn wsgi:app` with the embedded model and two workers, and sends to 127.0.0.1 alone. Prints the
requests by kind and status, and the processes' resources after each fifth of the time. Exits with 1 and prints the
problem if a request got an unexpected answer, if a worker ended, if a file was left behind, or if the log has a
traceback.
"""

import argparse
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import requests

from tests.benchmarks.process import serving
from tests.benchmarks.soak import state
from tests.benchmarks.soak.traffic import ADA, Client, Kind, draw
from tests.benchmarks.table import print_table

WORKERS, CLIENTS = 2, 8
PARTS = 5  # of the time; the first is the warm-up
COMMAND = f"gunicorn --bind 127.0.0.1:{{port}} --workers {WORKERS} wsgi:app"


@dataclass
class Tally:
    """Outcomes of all clients' requests."""

    limit: int  # requests
    outcomes: Counter[tuple[str, str]] = field(default_factory=Counter)  # kind and status
    unexpected: list[str] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def send(self, client: Client, kind: Kind) -> None:
        try:
            status = kind.send(client)
        except requests.RequestException as error:
            status = type(error).__name__
        except OSError as error:  # the server closed a bare socket first
            status = "hung-up" if "hung-up" in kind.expected else repr(error)
        with self._lock:
            self.outcomes[kind.name, status] += 1
            if status not in kind.expected:
                self.unexpected.append(f"{kind.name}: {status}")

    @property
    def is_full(self) -> bool:
        return self.outcomes.total() >= self.limit


def drive(url: str, tally: Tally, seconds: float, seed: int) -> None:
    """Let each client send requests one after the other."""
    until = time.monotonic() + seconds

    def send_all(number: int) -> None:
        client = Client(url, Random(f"{seed} {number}"))
        with client.session:
            while time.monotonic() < until and not tally.is_full:
                tally.send(client, draw(client.random))

    with ThreadPoolExecutor(CLIENTS) as pool:
        list(pool.map(send_all, range(CLIENTS)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--requests", type=int, default=500_000, help="maximum number of requests")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    tally = Tally(options.requests)
    with tempfile.TemporaryDirectory() as name:
        folder, log = Path(name) / "tmp", Path(name) / "server.log"
        folder.mkdir()
        variables = {"FLASKAPP_CAPTIONER_MODEL": "embedded", "TMPDIR": str(folder)}
        with serving(COMMAND, Path(sys.executable).parent, log, variables) as server:
            tally.send(Client(server.url, Random()), ADA)
            states, files = [], []
            for part in range(PARTS):
                drive(server.url, tally, options.minutes * 60 / PARTS, options.seed + part)
                states.append(state.when_quiet(server.process.pid))
                files.append(sum(1 for _ in folder.rglob("*")))
        tracebacks = log.read_text().count("Traceback")
    report(tally, states, files, options.minutes)
    wrong = [*tally.unexpected, *problems(states, files, tracebacks)]
    print(f"\nUnexpected: {len(wrong)}", *wrong, sep="\n")
    sys.exit(bool(wrong))


def problems(states: Sequence[Sequence[state.Process]], files: Sequence[int], tracebacks: int) -> list[str]:
    """Return what is wrong after all requests, besides their answers."""
    found = []
    if [process.id for process in states[0]] != [process.id for process in states[-1]]:
        found.append("a worker ended")
    if files[-1] > files[0]:
        found.append(f"{files[-1] - files[0]} temporary files were left behind")
    if tracebacks:
        found.append(f"the log has {tracebacks} tracebacks")
    return found


def report(tally: Tally, states: Sequence[Sequence[state.Process]], files: Sequence[int], minutes: float) -> None:
    title = f"{tally.outcomes.total()} requests of {CLIENTS} clients in {minutes:g} minutes, {WORKERS} workers"
    rows = [[kind, status, str(count)] for (kind, status), count in sorted(tally.outcomes.items())]
    print_table(title, ["", "status", "requests"], rows)
    names = ["master", "supervisor of the jobs' worker", *(f"worker {number + 1}" for number in range(WORKERS))]
    rows = []
    for name, then in zip(names, zip(*states, strict=False), strict=False):
        held = zip(*((process.rss, process.pss, process.descriptors, process.threads) for process in then), strict=True)
        rows.append([name, *(" ".join(f"{amount:.0f}" for amount in amounts) for amounts in held)])
    title = f"After each fifth of the time; temporary files: {' '.join(map(str, files))}"
    print_table(title, ["", "RSS, MB", "PSS, MB", "descriptors", "threads"], rows)


if __name__ == "__main__":
    main()
