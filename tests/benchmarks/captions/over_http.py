"""The server against its peers over HTTP, alternating."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import count, islice
from pathlib import Path

from flaskapp.machine import usable_cores
from tests.benchmarks.captions.checkpoints import FULL_SIZES
from tests.benchmarks.captions.images import image, phone_photograph
from tests.benchmarks.captions.load import Load, closed_loop, poisson
from tests.benchmarks.captions.servers import ONNX, OURS, THEIRS, Client, Server, running
from tests.benchmarks.drawing import draw
from tests.benchmarks.table import print_table

SERVERS = (*OURS, *THEIRS, ONNX)
PICTURE = Path(__file__).parent / "captions.svg"
ONE, SIXTEEN, RANDOM, PHOTOGRAPHS = "1 client", "16 clients", "70% load", "16 clients, 12 megapixels"
WARM_UP = 16
REQUESTS = {ONE: 12, SIXTEEN: 96, RANDOM: 24, PHOTOGRAPHS: 96}  # many, because the first and the last batches are small
FEWER = {SIXTEEN: 32}  # for slower checkpoints
LONGEST = 240.0  # seconds until clients stop sending: with some checkpoints a peer needs half a minute a caption


def run(checkpoint: Path, rounds: int) -> None:
    """Print captions a second and latencies of each server, and ratios to the best peer. Draw a chart."""
    best, mean_batches = _best_of(checkpoint, SERVERS, rounds, REQUESTS)
    _print(best)
    _print_photographs(best)
    for name, mean in mean_batches.items():
        print(f"{name}: {mean:.1f} images in a batch on average, with {SIXTEEN}")
    _draw(best)


def run_others(checkpoint: Path, rounds: int) -> None:
    """Print captions a second for 16 clients, and ratios to the best peer."""
    best, _ = _best_of(checkpoint, (*OURS, *THEIRS), rounds, FEWER, warm_up=4)
    peer = max(best[server.name, SIXTEEN].rate for server in THEIRS)
    print_table(
        f"{checkpoint.name} over HTTP, {SIXTEEN}: captions a second, times the best peer's, and p50 in seconds",
        ["", SIXTEEN, "", "p50"],
        [
            [server.name, f"{load.rate:.2f}", f"{load.rate / peer:.1f}x", f"{load.percentile(50):.1f}"]
            for server in (*OURS, *THEIRS)
            for load in [best[server.name, SIXTEEN]]
        ],
    )


def _best_of(
    checkpoint: Path, servers: Sequence[Server], rounds: int, requests: Mapping[str, int], warm_up: int = WARM_UP
) -> tuple[dict[tuple[str, str], Load], dict[str, float]]:
    """Return the best load of each kind and server, and our servers' mean batch sizes. Print each result at once."""
    best: dict[tuple[str, str], Load] = {}
    mean_batches: dict[str, float] = {}
    images = map(image, count(1))
    for _ in range(rounds):
        for number, server in enumerate(servers):  # one at a time: some use the CPU even when idle
            with running(server, checkpoint, checkpoint.parent / f"server-{number}.log") as client:
                loads, mean_batch = _measure(client, images, requests, warm_up)
                for kind, load in loads.items():
                    print(f"{checkpoint.name}, {server.name}, {kind}: {load.rate:.2f} captions a second", flush=True)
                    if (server.name, kind) not in best or load.rate > best[server.name, kind].rate:
                        best[server.name, kind] = load
                if mean_batch is not None:
                    mean_batches[server.name] = mean_batch
    return best, mean_batches


def _measure(
    client: Client, images: Iterator[bytes], requests: Mapping[str, int], warm_up: int
) -> tuple[dict[str, Load], float | None]:
    """Return the loads, and one of our servers' mean batch size with 16 clients.

    `warm_up` images are sent first, for batches of several sizes. No image is sent twice.
    """
    loads = {}
    closed_loop(client.send, list(islice(images, warm_up)), clients=16)
    if ONE in requests:
        loads[ONE] = closed_loop(client.send, list(islice(images, requests[ONE])), clients=1)
    before = client.batches()
    loads[SIXTEEN] = closed_loop(client.send, list(islice(images, requests[SIXTEEN])), clients=16, seconds=LONGEST)
    after = client.batches()
    if RANDOM in requests:
        some = list(islice(images, requests[RANDOM]))
        loads[RANDOM] = poisson(client.send, some, 0.7 * loads[SIXTEEN].rate)
    if PHOTOGRAPHS in requests and client.server in OURS:
        loads[PHOTOGRAPHS] = closed_loop(client.send, list(map(phone_photograph, range(requests[PHOTOGRAPHS]))), 16)
    mean_batch = None
    if before and after:
        mean_batch = (after.images - before.images) / (after.batches - before.batches)
    return loads, mean_batch


def _print_photographs(best: dict[tuple[str, str], Load]) -> None:
    print_table(
        "Photographs of 12 megapixels (JPEG) and small images: captions a second, 16 clients",
        ["", "small", "12 megapixels", ""],
        [
            [server.name, f"{small.rate:.2f}", f"{large.rate:.2f}", f"{large.rate / small.rate:.2f}x"]
            for server in OURS
            for small, large in [(best[server.name, SIXTEEN], best[server.name, PHOTOGRAPHS])]
        ],
    )


def _draw(best: dict[tuple[str, str], Load]) -> None:
    rates = {kind: {server.name: best[server.name, kind].rate for server in SERVERS} for kind in (ONE, SIXTEEN)}
    title = f"{FULL_SIZES['vit-gpt2'].title}, 8 beams, 16 tokens, {usable_cores()} CPU cores"
    draw(PICTURE, title, "captions a second", rates)


def _print(best: dict[tuple[str, str], Load]) -> None:
    peers = {kind: max(best[server.name, kind].rate for server in (*THEIRS, ONNX)) for kind in (ONE, SIXTEEN)}
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
            for server in SERVERS
        ],
    )
