"""Requests of many threads -> batches for the threads that run the model.

An idle engine starts a request immediately. Requests that arrive while a batch is being encoded join it, if there is
room: encoding images one by one loses nothing, decoding together gains much. Later ones wait for the next batch.
(Joining at the next token was tried, and was slower: searches that are not in step share less of each step's work.
`python -m tests.benchmarks.captions --part batching` compares both.) A request is refused at once when too many wait,
or too much to be done in time, and given up when its deadline has passed or its client has disconnected.
"""

import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from flaskapp import metrics
from flaskapp.captioner.admission import Admission
from flaskapp.captioner.generation import Caption, Generation
from flaskapp.captioner.lane import Lane
from flaskapp.captioner.pace import Pace
from flaskapp.captioner.protocol import Engine
from flaskapp.captioner.runner import LEFT, is_fast
from flaskapp.captioner.work_item import WorkItem, note
from flaskapp.errors import ClientLeft, DeadlineExceeded
from flaskapp.timings import Timings

log = logging.getLogger(__name__)

CALM = 60.0  # seconds without a request, after which what has no deadline takes whole batches
POLL_INTERVAL = 0.5  # seconds between two checks for a disconnected client


class Batcher:
    def __init__(self, engine: Engine, *, cores: int, max_batch: int, max_waiting: int, lanes: int = 1) -> None:
        """`cores` are those that captions are made on, `lanes` the batches that may run side by side."""
        self.max_batch = max_batch
        self._cores = cores
        self._last_impatient = -math.inf  # when one came, on the monotonic clock
        self._expected: list[Generation] = []  # of images that are admitted and still being decoded
        self._waiting: deque[WorkItem] = deque()
        self._patient: deque[WorkItem] = deque()  # without a deadline: they go last
        self._changed = threading.Condition()
        self._is_closed = False
        pace = Pace()
        self._admission = Admission(pace, max_batch=max_batch, max_waiting=max_waiting)
        self.lanes = [Lane(engine, self, pace)]
        self.lanes += [Lane(engine.beside(), self, pace.beside()) for _ in range(1, lanes)]

    @property
    def has_stalled(self) -> bool:
        """Whether the model has made no step for far longer than it ever took."""
        return any(lane.runner.has_stalled for lane in self.lanes)

    def caption(
        self,
        pixels: Collection[Any],
        generation: Generation,
        deadline: float,
        has_left: Callable[[], bool] = lambda: False,
        timings: Timings | None = None,
        on_text: Callable[[str], object] | None = None,
    ) -> list[list[Caption]]:
        """The captions of each image, by `deadline` seconds from now. There must be room before the first is decoded.

        `on_text` is called with the words so far, if there is one image; see `Job`.

        Raises TooBusy at once if they cannot all wait or be done by then, DeadlineExceeded, CaptionFailed if the model
        fails at one, ClientLeft when `has_left` says that the client disconnected.
        """
        expires = time.monotonic() + deadline
        timings = timings or Timings()
        items: list[WorkItem] = []
        with self._room_for(len(pixels), generation, deadline), timings.timing("decode"):
            for each in pixels:
                item = WorkItem(each, generation, is_patient=math.isinf(deadline))
                item.on_text = on_text if len(pixels) == 1 else None
                items.append(item)
                _check_patience(expires, deadline, has_left)
        self._submit(items)
        try:
            return [self._wait_for(item, expires, has_left) for item in items]
        except TimeoutError:
            raise _too_late(deadline) from None
        finally:
            for item in items:
                item.is_abandoned = not item.future.done()
            note(timings, items)

    @contextmanager
    def _room_for(self, images: int, generation: Generation, deadline: float) -> Iterator[None]:
        """Keep places in the queue until the images are in it. Images without a deadline go last, and need none."""
        expected = [] if math.isinf(deadline) else [generation] * images
        with self._changed:
            self._admit([generation] * images, deadline)
            self._expected += expected
        try:
            yield
        finally:
            with self._changed:
                for each in expected:
                    self._expected.remove(each)

    def _wait_for(self, item: WorkItem, expires: float, has_left: Callable[[], bool]) -> list[Caption]:
        while (left := expires - time.monotonic()) > POLL_INTERVAL:
            with suppress(TimeoutError):
                return item.future.result(POLL_INTERVAL)
            if has_left():
                raise ClientLeft(LEFT)
        return item.future.result(max(0.0, left))

    def _submit(self, items: Sequence[WorkItem]) -> None:
        with self._changed:
            for lane in self.lanes:
                lane.start()
            for item in items:
                (self._patient if item.is_patient else self._waiting).append(item)
                if not item.is_patient:
                    self._last_impatient = time.monotonic()
            self._count_waiting()
            self._changed.notify_all()

    def _admit(self, new: Sequence[Generation], deadline: float) -> None:
        """Raises TooBusy if the queue is full or the deadline would be missed. An idle engine refuses no request."""
        waiting = [*(item.generation for item in self._waiting if not item.is_abandoned), *self._expected]
        if waiting or self._idle_lanes() < len(self.lanes):
            self._admission.check(new, waiting, self._cores, deadline)

    def close(self) -> None:
        """Finish what is waiting, and end the threads."""
        with self._changed:
            threads = [lane.thread for lane in self.lanes if lane.thread is not None]
            self._is_closed = True
            self._changed.notify_all()
        for thread in threads:
            thread.join()
        self._is_closed = False

    # What a lane asks, in its thread

    def wait(self, lane: Lane) -> list[WorkItem]:
        """The lane's part of the waiting items, once there are any. An empty list ends the lane."""
        with self._changed:
            lane.taken = []
            while True:
                self._changed.wait_for(lambda: self._is_turn_of(lane) or self._is_over())
                items = self._take(lane, self.max_batch, lambda item: self._may_begin(lane, item))
                if items or self._is_over():
                    return items

    def take(self, lane: Lane, room: int, may_join: Callable[[WorkItem], bool]) -> list[WorkItem]:
        """Waiting items that may join the lane's batch, at most `room`."""
        with self._changed:
            return self._take(lane, room, may_join)

    def _is_turn_of(self, lane: Lane) -> bool:
        """The first lanes go first: one that is used all the time has everything at hand."""
        before = self.lanes[: self.lanes.index(lane)]
        first = [queue[0] for queue in (self._waiting, self._patient) if queue]
        return any(self._may_begin(lane, item) for item in first) and all(each.taken for each in before)

    def _may_begin(self, lane: Lane, item: WorkItem) -> bool:
        """Only one lane runs `generate`: of two at once one would wait for the other, and seem to stand still."""
        return lane is self.lanes[0] or is_fast(item)

    def _is_over(self) -> bool:
        return self._is_closed and not self._waiting and not self._patient

    def cores(self, lane: Lane) -> int:
        """How many a busy lane has at the moment.

        Only the first lane gets all when it is alone. libgomp lets its threads wait by sleeping, which is slow, once
        those of all lanes together are more than there are cores.
        """
        busy = len(self.lanes) - self._idle_lanes() if lane is self.lanes[0] else len(self.lanes)
        return max(1, self._cores // max(1, busy))

    def left(self) -> list[WorkItem]:
        """The waiting items, which will not be done."""
        with self._changed:
            left = [*self._waiting, *self._patient]
            self._waiting.clear()
            self._patient.clear()
            self._count_waiting()
            return left

    def _idle_lanes(self) -> int:
        return sum(not lane.taken for lane in self.lanes)

    def _take(self, lane: Lane, room: int, may_join: Callable[[WorkItem], bool]) -> list[WorkItem]:
        """In their order, without those that were given up, up to the first that may not join.

        No lane gets more than its share of all items under way: the rest is for the next idle lane. Items without a
        deadline take the places that are left; few of them while requests come, since the next request waits for the
        whole batch.
        """
        waiting = len(self._waiting) + len(self._patient)
        part = math.ceil((waiting + sum(len(each.taken) for each in self.lanes)) / len(self.lanes))
        room = min(room, part - len(lane.taken))
        items = _pop(self._waiting, room, may_join)
        is_calm = time.monotonic() - self._last_impatient > CALM
        most_patient = self.max_batch if is_calm else max(1, self.max_batch // 4)
        patient = sum(item.is_patient for item in lane.taken)
        items += _pop(self._patient, min(room - len(items), most_patient - patient), may_join)
        for item in items:
            item.begin()
        lane.taken += items
        self._count_waiting()
        self._changed.notify_all()
        return items

    def _count_waiting(self) -> None:
        first = next((item.submitted for item in self._waiting if not item.is_abandoned), None)
        metrics.current.set_waiting(len(self._waiting) + len(self._patient), first)


def _pop(waiting: deque[WorkItem], room: int, may_join: Callable[[WorkItem], bool]) -> list[WorkItem]:
    items: list[WorkItem] = []
    while waiting and len(items) < room and may_join(waiting[0]):
        item = waiting.popleft()
        if not item.is_abandoned:
            items.append(item)
    return items


def _too_late(deadline: float) -> DeadlineExceeded:
    return DeadlineExceeded(f"the captions were not ready within {deadline:g} seconds")


def _check_patience(expires: float, deadline: float, has_left: Callable[[], bool]) -> None:
    if time.monotonic() > expires:
        raise _too_late(deadline)
    if has_left():
        raise ClientLeft(LEFT)
