"""The server against its peers over HTTP, all running, taking turns."""

import json
import subprocess
from contextlib import ExitStack
from pathlib import Path

from flaskapp.cpu import usable_cores
from tests.benchmarks.captions.images import image
from tests.benchmarks.captions.load import Load, closed_loop, poisson
from tests.benchmarks.captions.servers import OURS, THEIRS, Client, running
from tests.benchmarks.process import ROOT, install_peers
from tests.benchmarks.table import print_table

PICTURE = Path(__file__).parent / "captions.svg"
ONE, SIXTEEN, RANDOM = "1 client", "16 clients", "70% load"
REQUESTS = {ONE: 6, SIXTEEN: 48, RANDOM: 40}


def run(checkpoint: Path, rounds: int) -> None:
    """Print captions a second and latencies of each server, and how many times the best peer's they are; draw them."""
    best: dict[tuple[str, str], Load] = {}
    with ExitStack() as stack:
        clients = [
            stack.enter_context(running(server, checkpoint, checkpoint.parent / f"server-{number}.log"))
            for number, server in enumerate((*OURS, *THEIRS))
        ]
        first = 1
        for _ in range(rounds):
            for client in clients:
                for kind in (ONE, SIXTEEN):
                    _keep_best(best, client, kind, _closed(client, kind, first))
                    first += REQUESTS[kind]
        for client in clients:
            rate = 0.7 * best[client.server.name, SIXTEEN].rate
            images = [image(first + number) for number in range(REQUESTS[RANDOM])]
            best[client.server.name, RANDOM] = poisson(client.send, images, rate)
            first += REQUESTS[RANDOM]
    _print(best)
    _draw(best)


def _closed(client: Client, kind: str, first: int) -> Load:
    images = [image(first + number) for number in range(REQUESTS[kind])]
    return closed_loop(client.send, images, clients=16 if kind == SIXTEEN else 1)


def _keep_best(best: dict[tuple[str, str], Load], client: Client, kind: str, load: Load) -> None:
    key = client.server.name, kind
    if key not in best or load.rate > best[key].rate:
        best[key] = load


def _draw(best: dict[tuple[str, str], Load]) -> None:
    rates = {
        kind: {server.name: best[server.name, kind].rate for server in (*OURS, *THEIRS)} for kind in (ONE, SIXTEEN)
    }
    title = f"ViT-B/16 + GPT-2 (239 M parameters), 8 beams, 16 tokens, {usable_cores()} CPU cores"
    command = [install_peers() / "python", "-m", "tests.benchmarks.captions.picture", PICTURE]
    subprocess.run(command, cwd=ROOT, input=json.dumps({"title": title, "rates": rates}), text=True, check=True)


def _print(best: dict[tuple[str, str], Load]) -> None:
    peers = {kind: max(best[server.name, kind].rate for server in THEIRS) for kind in (ONE, SIXTEEN)}
    print_table(
        "Captions over HTTP: captions a second, times the best peer's, and latencies in seconds",
        ["", ONE, "", "p50", SIXTEEN, "", "p50", f"{RANDOM}: p50", "p95"],
        [
            [
                server.name,
                *(
                    text
                    for kind in (ONE, SIXTEEN)
                    for text in (
                        f"{best[server.name, kind].rate:.2f}",
                        f"{best[server.name, kind].rate / peers[kind]:.1f}x",
                        f"{best[server.name, kind].percentile(50):.1f}",
                    )
                ),
                *(f"{best[server.name, RANDOM].percentile(percent):.1f}" for percent in (50, 95)),
            ]
            for server in (*OURS, *THEIRS)
        ],
    )
