"""The scheduler: forms batches from the requests of many threads, for the threads that run the model.

An idle engine starts a request immediately. Requests that arrive during encoding join the batch while there is room:
encoding more images together gains little, but decoding them together does. Later requests wait for the next batch.
Joining a batch between decode steps was slower: searches at different tokens share less of a step's work
(`python -m tests.benchmarks.captions --part batching`).

A request is rejected immediately when the queue is full or its deadline would be missed. It is abandoned when its
deadline passes or its client disconnects.
"""

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from flaskapp import metrics
from flaskapp.captioner.admission import Admission, Pace
from flaskapp.captioner.generation import Caption, Generation
from flaskapp.captioner.lane import Lane
from flaskapp.captioner.runner import CLIENT_LEFT, Engine
from flaskapp.captioner.topology import ALL_CORES
from flaskapp.captioner.work_item import WorkItem, record_timings
from flaskapp.errors import ClientLeft, DeadlineExceeded
from flaskapp.free_cores import FreeCores
from flaskapp.timings import Timings

QUIET_PERIOD = 60.0  # seconds without interactive requests, after which background items fill whole batches
POLL_INTERVAL = 0.5  # seconds between two checks for a disconnected client


class Batcher:
    def __init__(
        self,
        engine: Engine,
        *,
        cores: int,
        max_batch: int,
        max_waiting: int,
        lanes: Sequence[frozenset[int]] = (ALL_CORES,),
    ) -> None:
        """`cores` is the number for all lanes together; `lanes` has the cores of each, as `plan_lanes` returns them."""
        self.max_batch = max_batch
        self._cores = cores
        self._free_cores = FreeCores(cores)
        self._expected: list[Generation] = []  # of images that are admitted and still being decoded
        self._waiting: deque[WorkItem] = deque()
        self._background: deque[WorkItem] = deque()  # without a deadline: they start last
        self._last_interactive = -math.inf  # monotonic time of the last item with a deadline
        self._changed = threading.Condition()
        self._is_closed = False
        pace = Pace()
        self._admission = Admission(pace, max_batch=max_batch, max_waiting=max_waiting)
        first, *others = lanes
        self.lanes = [Lane(engine, self, pace, first)]
        self.lanes += [Lane(engine.sibling(), self, pace.sibling(), cores) for cores in others]

    @property
    def has_stalled(self) -> bool:
        """Whether a decode step takes far longer than any before."""
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
        """Return the captions of each image, by `deadline` seconds from now.

        The request is admitted before `pixels` yields the first image. With one image, `on_text` is called with the
        text so far; see `WorkItem`.

        Raises TooBusy immediately if the queue is full or the deadline would be missed, DeadlineExceeded, CaptionFailed
        if the model fails at an image, and ClientLeft once `has_left` returns true.
        """
        expires = time.monotonic() + deadline
        timings = timings or Timings()
        items: list[WorkItem] = []
        with self._room_for(len(pixels), generation, deadline), timings.timing("decode"):
            for each in pixels:
                item = WorkItem(each, generation, is_background=math.isinf(deadline))
                item.on_text = on_text if len(pixels) == 1 else None
                items.append(item)
                _check_wanted(expires, deadline, has_left)
        self._submit(items)
        try:
            return [self._wait_for(item, expires, has_left) for item in items]
        except TimeoutError:
            raise _too_late(deadline) from None
        finally:
            for item in items:
                item.is_abandoned = not item.future.done()
            record_timings(timings, items)

    @contextmanager
    def _room_for(self, images: int, generation: Generation, deadline: float) -> Iterator[None]:
        """Admit images and reserve places in the queue while they are decoded. Background images need no place."""
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
                raise ClientLeft(CLIENT_LEFT)
        return item.future.result(max(0.0, left))

    def _submit(self, items: Sequence[WorkItem]) -> None:
        with self._changed:
            for lane in self.lanes:
                lane.start()
            for item in items:
                (self._background if item.is_background else self._waiting).append(item)
                if not item.is_background:
                    self._last_interactive = time.monotonic()
            self._report_waiting()
            self._changed.notify_all()

    def _admit(self, new: Sequence[Generation], deadline: float) -> None:
        """Raise TooBusy if the queue is full or the deadline would be missed. An idle engine rejects no request."""
        waiting = [*(item.generation for item in self._waiting if not item.is_abandoned), *self._expected]
        if waiting or self._idle_lanes() < len(self.lanes):
            self._admission.check(new, waiting, self._cores, deadline)

    def close(self) -> None:
        """Caption all waiting images, then end the threads."""
        with self._changed:
            threads = [lane.thread for lane in self.lanes if lane.thread is not None]
            self._is_closed = True
            self._changed.notify_all()
        for thread in threads:
            thread.join()
        self._is_closed = False

    # The lanes' threads call these: see `lane.Queue`.

    def wait(self, lane: Lane) -> list[WorkItem]:
        """Wait for items, and return the lane's share. An empty list ends the lane."""
        with self._changed:
            lane.taken = []
            while True:
                self._changed.wait_for(lambda: self._is_turn_of(lane) or self._is_over())
                items = self._take(lane, self.max_batch, lambda item: self._may_begin(lane, item))
                if items or self._is_over():
                    return items

    def take(self, lane: Lane, room: int, may_join: Callable[[WorkItem], bool]) -> list[WorkItem]:
        """Return at most `room` waiting items that may join the lane's batch."""
        with self._changed:
            return self._take(lane, room, may_join)

    def _is_turn_of(self, lane: Lane) -> bool:
        """Whether the lane may start a batch now. Lower lanes go first: the caches of a lane in use are warm."""
        lower = self.lanes[: self.lanes.index(lane)]
        next_items = [queue[0] for queue in (self._waiting, self._background) if queue]
        return any(self._may_begin(lane, item) for item in next_items) and all(each.taken for each in lower)

    def _may_begin(self, lane: Lane, item: WorkItem) -> bool:
        """Only the first lane runs `generate`: a second call would wait for the first, and look like a stall."""
        return lane is self.lanes[0] or item.is_fast

    def _is_over(self) -> bool:
        return self._is_closed and not self._waiting and not self._background

    def cores(self, lane: Lane) -> int:
        """Return a busy lane's share of the cores. Only the first lane gets all cores while it runs alone."""
        return max(1, self._cores // self._sharing_lanes(lane))

    def threads(self, lane: Lane) -> int:
        """Return the number of threads for a busy lane: its share of the cores that other processes leave free.

        libgomp's threads wait by sleeping, which is slow, once all lanes together have more threads than cores.
        """
        return max(1, self._free_cores.count() // self._sharing_lanes(lane))

    def _sharing_lanes(self, lane: Lane) -> int:
        busy = len(self.lanes) - self._idle_lanes() if lane is self.lanes[0] else len(self.lanes)
        return max(1, busy)

    def drain(self) -> list[WorkItem]:
        """Remove and return all waiting items."""
        with self._changed:
            items = [*self._waiting, *self._background]
            self._waiting.clear()
            self._background.clear()
            self._report_waiting()
            return items

    def _idle_lanes(self) -> int:
        return sum(not lane.taken for lane in self.lanes)

    def _take(self, lane: Lane, room: int, may_join: Callable[[WorkItem], bool]) -> list[WorkItem]:
        """Take waiting items in order, up to the first that may not join. Abandoned items are dropped.

        A lane gets at most its share of all items, waiting and running: the rest is for the next idle lane. Background
        items take the remaining places, but only a quarter of a batch while interactive requests arrive: the next
        request waits for the whole batch.
        """
        waiting = len(self._waiting) + len(self._background)
        share = math.ceil((waiting + sum(len(each.taken) for each in self.lanes)) / len(self.lanes))
        room = min(room, share - len(lane.taken))
        items = _pop(self._waiting, room, may_join)
        is_quiet = time.monotonic() - self._last_interactive > QUIET_PERIOD
        max_background = self.max_batch if is_quiet else max(1, self.max_batch // 4)
        background = sum(item.is_background for item in lane.taken)
        items += _pop(self._background, min(room - len(items), max_background - background), may_join)
        for item in items:
            item.begin()
        lane.taken += items
        self._report_waiting()
        self._changed.notify_all()
        return items

    def _report_waiting(self) -> None:
        first = next((item.submitted for item in self._waiting if not item.is_abandoned), None)
        metrics.current.set_waiting(len(self._waiting) + len(self._background), first)


def _pop(waiting: deque[WorkItem], room: int, may_join: Callable[[WorkItem], bool]) -> list[WorkItem]:
    items: list[WorkItem] = []
    while waiting and len(items) < room and may_join(waiting[0]):
        item = waiting.popleft()
        if not item.is_abandoned:
            items.append(item)
    return items


def _too_late(deadline: float) -> DeadlineExceeded:
    return DeadlineExceeded(f"the captions were not ready within {deadline:g} seconds")


def _check_wanted(expires: float, deadline: float, has_left: Callable[[], bool]) -> None:
    if time.monotonic() > expires:
        raise _too_late(deadline)
    if has_left():
        raise ClientLeft(CLIENT_LEFT)
