"""The table of connections, here shared by objects of one process instead of by workers."""

import copy

from flaskapp.serving.balance import Balance


def two_workers() -> tuple[Balance, Balance]:
    mine = Balance()
    theirs = copy.copy(mine)  # the same table, as after a fork
    mine.take_place(1)
    theirs.take_place(2)
    return mine, theirs


def test_the_worker_with_more_connections_is_ahead() -> None:
    mine, theirs = two_workers()
    assert not mine.is_ahead
    mine.tell(1)
    assert mine.is_ahead
    assert not theirs.is_ahead
    theirs.tell(1)
    assert not mine.is_ahead


def test_of_many_connections_a_few_more_are_not_ahead() -> None:
    mine, theirs = two_workers()
    theirs.tell(80)
    mine.tell(90)
    assert not mine.is_ahead
    mine.tell(92)
    assert mine.is_ahead


def test_a_worker_that_ended_is_not_waited_for() -> None:
    mine, _ = two_workers()
    mine.tell(1)
    mine.forget(2)
    assert not mine.is_ahead


def test_a_worker_that_is_alone_is_never_ahead() -> None:
    alone = Balance()
    alone.take_place(7)
    alone.tell(70_000)
    assert not alone.is_ahead
