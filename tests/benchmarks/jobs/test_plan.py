"""Capacity planning with figures that can be checked by hand."""

from dataclasses import replace

import pytest

from tests.benchmarks.jobs.plan import Fleet, Shared, bottleneck, most_machines, seconds

FLEET = Fleet(machines=10, workers=4, rate=5.0)  # 40 workers, 200 images a second
DATABASE = Shared("database", capacity=8.0, per_image=0.01, per_worker=0.05, remedy="")  # 2 + 2 of 8
STORE = Shared("store", capacity=1000.0, per_image=1.0, per_worker=0.0, remedy="")  # 200 of 1000


def test_images_and_workers_load_a_part() -> None:
    assert DATABASE.load(FLEET.images_per_second, FLEET.all_workers) == pytest.approx(0.5)
    assert bottleneck(FLEET, [STORE, DATABASE]) is DATABASE
    assert most_machines(FLEET, DATABASE) == pytest.approx(20)
    assert most_machines(FLEET, STORE) == pytest.approx(50)


def test_without_a_saturated_part_the_workers_set_the_pace() -> None:
    assert seconds(20_000, FLEET, [DATABASE, STORE]) == pytest.approx(100)
    assert seconds(20_000, replace(FLEET, machines=20), [DATABASE, STORE]) == pytest.approx(50)


def test_a_saturated_part_sets_the_pace_and_more_machines_slow_it_down() -> None:
    fleet = replace(FLEET, machines=30)  # 120 workers use 6 of 8 units, which leaves 200 images a second
    assert seconds(20_000, fleet, [DATABASE, STORE]) == pytest.approx(100)
    assert seconds(20_000, replace(FLEET, machines=40), [DATABASE, STORE]) > 1e6, "the workers alone saturate it"
