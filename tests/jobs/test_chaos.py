"""A job survives killed and disconnected workers and servers, and restarts of the broker and the database."""

from pathlib import Path
from random import Random

import pytest

from tests.jobs.chaos import check_recovery, installed, run_chaos
from tests.jobs.cluster import scene
from tests.jobs.hosts import Network, network

__all__ = ["network"]  # a fixture

IMAGES, POISONED = 240, {7, 100, 239}
SEED = 5


@pytest.mark.slow
@pytest.mark.redis
@pytest.mark.postgresql
def test_every_image_has_exactly_one_outcome_despite_faults(tmp_path: Path, network: Network) -> None:
    scenes = [scene(number) for number in range(IMAGES)]
    images = [b"poison" if number in POISONED else image for number, (image, _) in enumerate(scenes)]
    with installed(tmp_path, network, chunk_size=8) as cluster:
        outcome = run_chaos(cluster, images, '{"num_beams": 4}', faults=4, random=Random(SEED))
        check_recovery(cluster, [image for image, _ in scenes[:8]])
    assert not outcome.lost
    assert not outcome.duplicated, "late results of the disconnected worker are dropped"
    assert [result["index"] for result in outcome.results] == list(range(IMAGES))
    assert {result["index"] for result in outcome.results if "error" in result} == POISONED
    assert all(("captions" in result) != ("error" in result) for result in outcome.results)
    right = sum(result.get("captions") == [scenes[result["index"]][1]] for result in outcome.results)
    assert right > 0.95 * IMAGES, "each caption is of its own image"
    assert not outcome.wrong
