"""Memory for more workers, and seconds to the first caption."""

from pathlib import Path

from tests.benchmarks.captions.images import image
from tests.benchmarks.captions.load import closed_loop
from tests.benchmarks.captions.servers import ours, running
from tests.benchmarks.process import process_tree
from tests.benchmarks.table import print_table

WORKERS = (1, 4)
IMAGES, CLIENTS = 32, 16  # for each number of workers the same: batches take memory, too


def run(checkpoint: Path, _rounds: int) -> None:
    """Print the memory of a server's processes after each worker has captioned. Shared pages count once."""
    rows = []
    for precision in ("fp32", "int8"):
        megabytes, seconds = {}, {}
        for workers in WORKERS:
            server = ours(f"{workers} workers, {precision}", precision, workers)
            with running(server, checkpoint, checkpoint.parent / "memory.log") as client:
                closed_loop(client.send, [image(number) for number in range(IMAGES)], CLIENTS)
                megabytes[workers] = proportional_set_size(client.process.pid)
                seconds[workers] = client.seconds_to_first
        rows.append(
            [
                precision,
                *(f"{megabytes[workers]:.0f} MB" for workers in WORKERS),
                f"{megabytes[4] / megabytes[1]:.2f}x",
                f"{seconds[1]:.1f} s",
            ]
        )
    print_table(
        "Memory (PSS of all processes), and the time from the start to the first caption",
        ["", "1 worker", "4 workers", "", "first caption"],
        rows,
    )


def proportional_set_size(master: int) -> float:
    """Return the proportional set size of a process and its descendants in megabytes."""
    total = 0
    for process in process_tree(master):
        for line in Path(f"/proc/{process}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                total += int(line.split()[1])
    return total / 1024
