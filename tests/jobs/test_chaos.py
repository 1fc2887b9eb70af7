"""Two web servers and three workers, on hosts of their own, lose each other, the broker and the database."""

from pathlib import Path
from random import Random

import pytest

from tests.jobs.chaos import endure, installed, work_alone
from tests.jobs.cluster import scene
from tests.jobs.hosts import Network, network

__all__ = ["network"]  # a fixture

IMAGES, POISONED = 240, {7, 100, 239}
SEED = 5


@pytest.mark.slow
@pytest.mark.redis
@pytest.mark.postgresql
def test_every_image_has_one_caption_or_one_reason_whatever_dies_and_whoever_is_cut_off(
    tmp_path: Path, network: Network
) -> None:
    scenes = [scene(number) for number in range(IMAGES)]
    images = [b"poison" if number in POISONED else image for number, (image, _) in enumerate(scenes)]
    with installed(tmp_path, network, chunk_size=8) as cluster:
        ordeal = endure(cluster, images, '{"num_beams": 4}', blows=4, random=Random(SEED))
        work_alone(cluster, [image for image, _ in scenes[:8]])
    assert not ordeal.lost
    assert not ordeal.doubled, "not by the late results of the worker that was cut off either"
    assert [result["index"] for result in ordeal.results] == list(range(IMAGES))
    assert {result["index"] for result in ordeal.results if "error" in result} == POISONED
    assert all(("captions" in result) != ("error" in result) for result in ordeal.results)
    right = sum(result.get("captions") == [scenes[result["index"]][1]] for result in ordeal.results)
    assert right > 0.95 * IMAGES, "each has its own image's caption"
    assert not ordeal.wrong
