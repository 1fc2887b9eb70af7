import os
import threading
from concurrent.futures import ThreadPoolExecutor

from flaskapp.captioner.niceness import NICE, lower_priority


def test_a_thread_that_gives_way_is_nice_and_so_are_those_that_it_starts_and_no_others() -> None:
    def niceness() -> int:
        return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

    def be_nice() -> tuple[int, int]:
        lower_priority()
        with ThreadPoolExecutor(1) as started:
            return niceness(), started.submit(niceness).result(30)

    before = niceness()
    nicer = min(before + NICE, 19)
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(be_nice).result(30) == (nicer, nicer)
    assert niceness() == before
