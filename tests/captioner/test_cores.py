import copy
import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from flaskapp.captioner.cores import NICE, Cores, give_way


@pytest.fixture(autouse=True)
def threads_as_before() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def threads_of(cores: Cores) -> int:
    cores.claim()
    return torch.get_num_threads()


def in_another_process(cores: Cores, number: int) -> Cores:
    """What a forked process has: an object of its own on the same memory."""
    other = copy.copy(cores)
    other.take_place(number)
    return other


def test_a_process_that_captions_alone_has_all_cores() -> None:
    assert threads_of(Cores(4)) == 4


def test_processes_that_caption_at_the_same_time_share_them() -> None:
    one = Cores(4)
    two = in_another_process(one, 1)
    one.claim()
    assert threads_of(two) == 2
    assert threads_of(one) == 2
    two.release()
    assert threads_of(one) == 4


def test_a_forked_process_shares_them_with_the_one_that_forked_it() -> None:
    cores = Cores(2)
    child = os.fork()
    if child == 0:
        cores.take_place(1)
        cores.claim()
        os._exit(0)  # without a release, as if it were killed
    assert os.waitpid(child, 0) == (child, 0)
    assert threads_of(cores) == 1
    cores.forget(1)
    assert threads_of(cores) == 2


def test_two_that_have_the_same_place_do_no_harm() -> None:
    one = Cores(2)
    other = in_another_process(one, 0)
    one.claim()
    other.release()
    assert threads_of(one) == 2


def test_there_is_a_thread_for_everyone_even_if_there_are_more_processes_than_cores() -> None:
    cores = Cores(2)
    for number in range(5):
        in_another_process(cores, number).claim()
    assert threads_of(cores) == 1


def test_a_process_that_ended_while_it_captioned_leaves_its_part_to_the_others() -> None:
    cores = Cores(2)
    in_another_process(cores, 7).claim()
    assert threads_of(cores) == 1
    cores.forget(7)
    assert threads_of(cores) == 2


def test_the_least_part_is_what_is_left_when_all_processes_caption() -> None:
    cores = Cores(4)
    assert cores.least_part == 4
    for number in range(2):
        in_another_process(cores, number)
    assert cores.least_part == 2
    cores.forget(1)
    assert cores.least_part == 4


def test_a_thread_that_gives_way_is_nice_and_so_are_those_that_it_starts_and_no_others() -> None:
    def niceness() -> int:
        return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

    def be_nice() -> tuple[int, int]:
        give_way()
        with ThreadPoolExecutor(1) as started:
            return niceness(), started.submit(niceness).result(30)

    before = niceness()
    nicer = min(before + NICE, 19)
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(be_nice).result(30) == (nicer, nicer)
    assert niceness() == before


def test_a_process_that_withdraws_has_one_core_and_is_not_counted() -> None:
    one = Cores(4)
    modest = in_another_process(one, 1)
    modest.withdraw()
    assert threads_of(modest) == 1
    assert threads_of(one) == 4
