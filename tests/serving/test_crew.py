"""Who does the work: events are waited for here, no time is measured."""

import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from flaskapp.serving.crew import Crew

Task = Callable[[], None]
PATIENCE = 30  # seconds


@contextmanager
def crew_of(most: int, tasks: "queue.Queue[Task]", on_death: Callable[[], None] = lambda: None) -> Iterator[Crew[Task]]:
    """A crew that finds its work in a queue, and the watch over it."""

    def find() -> Task | None:
        try:
            return tasks.get(timeout=0.05)
        except queue.Empty:
            return None

    crew: Crew[Task] = Crew(find, lambda task: task(), most=most, on_death=on_death)
    is_over = threading.Event()

    def watch() -> None:
        while not is_over.is_set():
            crew.watch(patience=0.05)

    watcher = threading.Thread(target=watch)
    watcher.start()
    crew.start()
    yield crew
    is_over.set()
    watcher.join(PATIENCE)
    crew.stop()


def test_light_work_is_done_in_its_order_by_one_thread() -> None:
    tasks: queue.Queue[Task] = queue.Queue()
    done: list[tuple[int, str]] = []
    is_done = threading.Event()
    for number in range(100):
        tasks.put(lambda number=number: done.append((number, threading.current_thread().name)))  # type: ignore[misc]
    tasks.put(is_done.set)
    with crew_of(8, tasks):
        assert is_done.wait(PATIENCE)
    assert [number for number, _ in done] == list(range(100))


def test_work_that_takes_long_keeps_nobody_waiting() -> None:
    tasks: queue.Queue[Task] = queue.Queue()
    is_light_done = threading.Event()
    with crew_of(4, tasks):
        waited: list[bool] = []
        are_long_done = threading.Barrier(4)

        def long() -> None:
            waited.append(is_light_done.wait(PATIENCE))
            are_long_done.wait(PATIENCE)

        for _ in range(3):
            tasks.put(long)
        tasks.put(is_light_done.set)
        are_long_done.wait(PATIENCE)
    assert waited == [True] * 3


def test_there_are_never_more_threads_than_allowed_and_all_work_is_done() -> None:
    tasks: queue.Queue[Task] = queue.Queue()
    names = set()
    left = threading.Semaphore(0)

    def work() -> None:
        names.add(threading.current_thread().name)
        threading.Event().wait(0.02)  # longer than a moment
        left.release()

    for _ in range(20):
        tasks.put(work)
    with crew_of(3, tasks):
        for _ in range(20):
            assert left.acquire(timeout=PATIENCE)
    assert 1 < len(names) <= 3


def test_a_thread_that_dies_is_told_of() -> None:
    tasks: queue.Queue[Task] = queue.Queue()
    is_dead = threading.Event()
    hook, threading.excepthook = threading.excepthook, lambda _: None
    try:
        with crew_of(1, tasks, is_dead.set):
            tasks.put(lambda: [][0])
            assert is_dead.wait(PATIENCE)
    finally:
        threading.excepthook = hook
