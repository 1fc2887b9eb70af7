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
REQUESTS = {ONE: 6, SIXTEEN: 32, RANDOM: 24}
REQUESTS_FOR_BATCHES = 96


def run(checkpoint: Path, rounds: int) -> None:
    """Print captions a second and latencies of each server, and how many times the best peer's they are; draw them."""
    best: dict[tuple[str, str], Load] = {}
    mean_batches: dict[str, float] = {}
    images = map(image, count(1))
    for _ in range(rounds):
        for number, server in enumerate((*OURS, *THEIRS)):  # only one runs at a time: some are busy when idle
            with running(server, checkpoint, checkpoint.parent / f"server-{number}.log") as client:
                for kind, load in _measure(client, images).items():
                    if (server.name, kind) not in best or load.rate > best[server.name, kind].rate:
                        best[server.name, kind] = load
                if server in OURS and server.name not in mean_batches:
                    mean_batches[server.name] = _mean_batch(client, images)
    _print(best)
    for name, mean in mean_batches.items():
        print(f"{name}: {mean:.1f} images in a batch on average, with {SIXTEEN}")
    _draw(best)


def _measure(client: Client, images: Iterator[bytes]) -> dict[str, Load]:
    """After a warm-up, so that every worker has run batches of several sizes. No image is ever sent twice."""
    closed_loop(client.send, list(islice(images, WARM_UP)), clients=16)
    one = closed_loop(client.send, list(islice(images, REQUESTS[ONE])), clients=1)
    sixteen = closed_loop(client.send, list(islice(images, REQUESTS[SIXTEEN])), clients=16)
    at_random = poisson(client.send, list(islice(images, REQUESTS[RANDOM])), 0.7 * sixteen.rate)
    return {ONE: one, SIXTEEN: sixteen, RANDOM: at_random}


def _mean_batch(client: Client, images: Iterator[bytes]) -> float:
    """How many images one of our servers has in a batch, with 16 clients for longer than the first ones count."""
    batches, images_in_them = client.batches()
    closed_loop(client.send, list(islice(images, REQUESTS_FOR_BATCHES)), clients=16)
    batches_then, images_in_them_then = client.batches()
    return (images_in_them_then - images_in_them) / (batches_then - batches)


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
