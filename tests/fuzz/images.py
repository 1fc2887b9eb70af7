"""Thousands of broken images: `python -m tests.fuzz.images --examples 20000`, a minute on two cores.

Each is decoded; one in ten is also sent to `/cv_model/` and `/caption/`, without a network. A child process does the
work, which reveals crashes of decoders and memory leaks. Exits with 1 if an answer contradicts the contract, or if the
process died or grew.
"""

import argparse
import gc
import multiprocessing
import sys
import tempfile
import traceback
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path

from flaskapp import create_app
from tests.benchmarks.table import print_table
from tests.fuzz import checks
from tests.fuzz.fuzzing import fuzz
from tests.fuzz.mutations import broken_images

SENT = 10  # one in this many examples is also sent
BATCH = 1000  # examples; Hypothesis remembers its examples and would itself grow
WARM_UP = 4  # one in this many batches is the warm-up
MAX_GROWTH = 32  # MB after the warm-up; a leaked image of 50 megapixels has 150

Outcomes = Counter[tuple[str, str]]  # by action and outcome


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--examples", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, _child(options.examples, options.seed, Path(folder)) as child:
        process, connection = child
        outcomes: Outcomes = Counter()
        memory = []
        for _ in range(2):
            outcomes += _next_report(connection, process, Path(folder))
            assert process.pid is not None
            memory.append(_megabytes(process.pid, "VmRSS"))
        peak = _megabytes(process.pid, "VmHWM")
    rows = [[what, outcome, str(count)] for (what, outcome), count in sorted(outcomes.items())]
    title = f"{options.examples} broken images, seed {options.seed}: none with another outcome, no crash"
    print_table(title, ["", "outcome", "images"], rows)
    print_table(
        "Resident memory of the child process",
        ["after a quarter", "at the end", "peak"],
        [[f"{megabytes:.0f} MB" for megabytes in (*memory, peak)]],
    )
    if memory[1] - memory[0] > MAX_GROWTH:
        sys.exit(f"The process grew by more than {MAX_GROWTH} MB.")


@contextmanager
def _child(examples: int, seed: int, folder: Path) -> Iterator[tuple[multiprocessing.process.BaseProcess, Connection]]:
    here, there = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=_work, args=(examples, seed, folder, there))
    process.start()
    there.close()
    try:
        yield process, here
    finally:
        here.close()  # the child ends when the pipe is closed
        process.join()


def _next_report(connection: Connection, process: multiprocessing.process.BaseProcess, folder: Path) -> Outcomes:
    try:
        report: Outcomes | str = connection.recv()
    except EOFError:
        process.join()
        report = f"The process died: exit code {process.exitcode}."
    if isinstance(report, str):
        example = folder / "example"
        sys.exit(f"{report}\nThe image: {example.read_bytes()!r}" if example.exists() else report)
    return report


def _work(examples: int, seed: int, folder: Path, connection: Connection) -> None:
    """Run the examples in the child. The current example is in the folder in case of a crash."""
    warnings.simplefilter("ignore")  # Pillow's warnings of odd files
    settings = {"CAPTIONER_MODEL": "embedded", "DATABASE_URL": f"sqlite:///{folder / 'fuzz.db'}"}
    client = create_app(settings).test_client()
    outcomes: Outcomes = Counter()
    seen = 0

    def check(data: bytes) -> None:
        nonlocal seen
        seen += 1
        (folder / "example").write_bytes(data)
        outcomes["decoded", checks.decode(data)] += 1
        if seen % SENT == 0:
            outcomes["`POST /cv_model/`", checks.resize(client, data)] += 1
            outcomes["`POST /caption/`", checks.caption(client, data)] += 1

    try:
        batches = max(WARM_UP, examples // BATCH)
        for batch in range(batches):
            fuzz(check, examples // batches, seed * 1_000_000 + batch, broken_images())
            gc.collect()
            if batch + 1 in (batches // WARM_UP, batches):
                connection.send(outcomes)
                outcomes.clear()
        connection.poll(None)  # stays alive until the parent has read its memory
    except Exception:
        connection.send(traceback.format_exc())


def _megabytes(process: int, field: str) -> float:
    """Return megabytes of a process: `VmRSS`, its current memory, or `VmHWM`, the peak."""
    status = Path(f"/proc/{process}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith(field)) / 1024


if __name__ == "__main__":
    main()
