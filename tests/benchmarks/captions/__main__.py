"""Compare captions a second in one run: `python -m tests.benchmarks.captions`, about half an hour on two cores.

--part in-process   the engine against transformers' `generate`, batches of 1, 4, 8 and 16 images
--part http         the server against FastAPI + uvicorn, LitServe and BentoML, 1 and 16 clients, and at random
--part batching     the batcher against the engine alone, and images that join a running batch against those that wait
--part memory       one worker against four: memory that is not shared, and seconds to the first caption
"""

import argparse
import tempfile
from pathlib import Path

from tests.benchmarks.captions import batching, in_process, memory, over_http
from tests.captioner import full_size

PARTS = {"in-process": in_process.run, "batching": batching.run, "http": over_http.run, "memory": memory.run}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", choices=PARTS, action="append", help="more than one may be given; default: all")
    parser.add_argument("--rounds", type=int, default=2, help="of which the best counts, for each of those compared")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = full_size.write(Path(folder) / "vit-gpt2-random")
        for part in options.part or PARTS:
            PARTS[part](checkpoint, options.rounds)


if __name__ == "__main__":
    main()
