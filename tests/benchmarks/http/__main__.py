"""Compare the endpoints without a model in one run: `python -m tests.benchmarks.http`, about ten minutes on two cores.

--part endpoints    requests a second against the same application in FastAPI under uvicorn (needs wrk)
--part resize       seconds to resize a 12-megapixel JPEG against the course's code, libvips and Pillow
"""

import argparse
import subprocess
import tempfile
from pathlib import Path

from tests.benchmarks.http import endpoints
from tests.benchmarks.process import PEERS, ROOT

PARTS = ("endpoints", "resize")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", choices=PARTS, action="append", help="may be repeated; default: all")
    parser.add_argument("--rounds", type=int, default=5, help="rounds, of which the median counts")
    options = parser.parse_args()
    peers = PEERS.install()
    parts = options.part or PARTS
    if "endpoints" in parts:
        with tempfile.TemporaryDirectory() as folder:
            endpoints.run(Path(folder), peers, options.rounds)
    if "resize" in parts:  # in the environment that has libvips
        command = [peers / "python", "-m", "tests.benchmarks.http.resize", str(options.rounds)]
        subprocess.run(command, cwd=ROOT, check=True)


if __name__ == "__main__":
    main()
