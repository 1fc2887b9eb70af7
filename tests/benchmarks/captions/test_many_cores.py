import pytest

from tests.benchmarks.captions.many_cores import IMAGES, Batch


def test_the_serial_part_follows_from_the_times_on_one_core_and_on_several() -> None:
    batch = Batch.of(alone=10, together=4, cores=4, read=1)
    assert batch == (2, 8, 1)
    assert batch.serial + batch.parallel / 4 == 4


@pytest.mark.parametrize(
    ("lanes", "batches"),
    [
        (1, 1 / (1 + 4 / 8)),
        (2, 2 / (1 + 4 / 4)),
        (8, 8 / (1 + 4)),
    ],
)
def test_batches_side_by_side_share_the_cores(lanes: int, batches: float) -> None:
    assert Batch(serial=1, parallel=4, read=1).images_per_second(8, lanes) == pytest.approx(IMAGES * batches)


def test_no_more_weights_are_read_than_the_memory_delivers() -> None:
    assert Batch(serial=0, parallel=1, read=10).images_per_second(64, 64, memory=20) == IMAGES * 2
