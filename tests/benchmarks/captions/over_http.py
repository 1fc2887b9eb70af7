"""The server against its peers over HTTP, taking turns."""

from collections.abc import Iterator
from itertools import count, islice
from pathlib import Path

from flaskapp.cpu import usable_cores
from tests.benchmarks.captions.images import image
from tests.benchmarks.captions.load import Load, closed_loop, poisson
from tests.benchmarks.captions.servers import OURS, THEIRS, Client, running
from tests.benchmarks.drawing import draw
from tests.benchmarks.table import print_table

PICTURE = Path(__file__).parent / "captions.svg"
ONE, SIXTEEN, RANDOM = "1 client", "16 clients", "70% load"
WARM_UP = 16
REQUESTS = {ONE: 12, SIXTEEN: 96, RANDOM: 24}  # many: the first and the last batches are small


def run(checkpoint: Path, rounds: int) -> None:
    """Print captions a second and latencies of each server, and how many times the best peer's they are; draw them."""
    best: dict[tuple[str, str], Load] = {}
    mean_batches: dict[str, float] = {}
    images = map(image, count(1))
    for _ in range(rounds):
        for number, server in enumerate((*OURS, *THEIRS)):  # only one runs at a time: some are busy when idle
            with running(server, checkpoint, checkpoint.parent / f"server-{number}.log") as client:
                loads, mean_batch = _measure(client, images)
                for kind, load in loads.items():
                    if (server.name, kind) not in best or load.rate > best[server.name, kind].rate:
                        best[server.name, kind] = load
                if mean_batch is not None:
                    mean_batches[server.name] = mean_batch
    _print(best)
    for name, mean in mean_batches.items():
        print(f"{name}: {mean:.1f} images in a batch on average, with {SIXTEEN}")
    _draw(best)


def _measure(client: Client, images: Iterator[bytes]) -> tuple[dict[str, Load], float | None]:
    """After a warm-up, so that every worker has run batches of several sizes. No image is ever sent twice.

    Returns the loads, and how many images one of our servers had in a batch on average, with 16 clients.
    """
    closed_loop(client.send, list(islice(images, WARM_UP)), clients=16)
    one = closed_loop(client.send, list(islice(images, REQUESTS[ONE])), clients=1)
    before = client.batches()
    sixteen = closed_loop(client.send, list(islice(images, REQUESTS[SIXTEEN])), clients=16)
    after = client.batches()
    at_random = poisson(client.send, list(islice(images, REQUESTS[RANDOM])), 0.7 * sixteen.rate)
    mean_batch = None
    if before and after:
        mean_batch = (after.images - before.images) / (after.batches - before.batches)
    return {ONE: one, SIXTEEN: sixteen, RANDOM: at_random}, mean_batch


def _draw(best: dict[tuple[str, str], Load]) -> None:
    rates = {
        kind: {server.name: best[server.name, kind].rate for server in (*OURS, *THEIRS)} for kind in (ONE, SIXTEEN)
    }
    title = f"ViT-B/16 + GPT-2 (239 M parameters), 8 beams, 16 tokens, {usable_cores()} CPU cores"
    draw(PICTURE, title, "captions a second", rates)


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
