"""The arithmetic of many machines, on figures that can be checked by hand."""

from dataclasses import replace

import pytest

from tests.benchmarks.jobs.plan import Fleet, Shared, first_full, most_machines, seconds

FLEET = Fleet(machines=10, workers=4, rate=5.0)  # 40 workers, 200 images a second
DATABASE = Shared("database", capacity=8.0, per_image=0.01, per_worker=0.05, remedy="")  # 2 + 2 of 8
STORE = Shared("store", capacity=1000.0, per_image=1.0, per_worker=0.0, remedy="")  # 200 of 1000


def test_a_part_is_taken_by_images_and_by_workers() -> None:
    assert DATABASE.load(FLEET.images_per_second, FLEET.all_workers) == pytest.approx(0.5)
    assert first_full(FLEET, [STORE, DATABASE]) is DATABASE
    assert most_machines(FLEET, DATABASE) == pytest.approx(20)
    assert most_machines(FLEET, STORE) == pytest.approx(50)


def test_so_many_images_take_as_long_as_the_workers_need_while_nothing_is_full() -> None:
    assert seconds(20_000, FLEET, [DATABASE, STORE]) == pytest.approx(100)
    assert seconds(20_000, replace(FLEET, machines=20), [DATABASE, STORE]) == pytest.approx(50)


def test_beyond_that_the_part_that_is_full_sets_the_pace_and_more_machines_make_it_worse() -> None:
    fleet = replace(FLEET, machines=30)  # 120 workers take 6 of the 8: the rest is for 200 images a second
    assert seconds(20_000, fleet, [DATABASE, STORE]) == pytest.approx(100)
    assert seconds(20_000, replace(FLEET, machines=40), [DATABASE, STORE]) > 1e6, "its workers alone fill it"
