"""The chaos test of `tests/jobs/test_chaos.py` at full size."""

import sys
import tempfile
from pathlib import Path
from random import Random

from tests.benchmarks.table import print_table
from tests.jobs.chaos import installed, run_chaos
from tests.jobs.cluster import scene
from tests.jobs.hosts import made_network

CHUNK = 16  # images, the default
FAULTS = 8  # killed workers and restarts of Redis and PostgreSQL
SEED = 1


def run(count: int) -> None:
    images = [scene(number)[0] for number in range(count)]
    with (
        tempfile.TemporaryDirectory() as name,
        made_network() as network,
        installed(Path(name), network, CHUNK) as cluster,
    ):
        outcome = run_chaos(cluster, images, "{}", FAULTS, Random(SEED))
    captioned = sum("captions" in result for result in outcome.results)
    print_table(
        f"{count} images on 5 hosts, one worker disconnected for {outcome.cut_off:.0f} s, {FAULTS} kills and restarts",
        ["seconds", "captions", "lost", "duplicated", "failed answers"],
        [
            [
                f"{outcome.seconds:.0f}",
                *map(str, (captioned, len(outcome.lost), len(outcome.duplicated), len(outcome.wrong))),
            ]
        ],
    )
    if outcome.lost or outcome.duplicated or outcome.wrong or captioned < count:
        sys.exit("\n".join(["an image or an answer was wrong", *outcome.wrong]))
