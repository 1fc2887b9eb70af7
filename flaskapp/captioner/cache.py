"""Captions of images that were captioned before, or that another request is waiting for, in the engine's process.

An image is known by the SHA-256 of its whole upload, and its captions by that and everything that the request amounts
to. The cache is that of one loaded model; another one begins with an empty cache.
"""

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress

from cachetools import LRUCache

from flaskapp import metrics
from flaskapp.captioner.generation import Caption, Generation
from flaskapp.errors import ClientLeft, DeadlineExceeded
from flaskapp.timings import Timings

POLL_INTERVAL = 0.5  # seconds between two checks for a disconnected client
ENTRY = 1000  # bytes of an entry besides the text and the token ids
TOKEN = 36  # bytes of a token id

Captions = list[list[Caption]]
Key = tuple[str, Generation]


class CaptionCache:
    """At most so many bytes of captions, those that were asked for last."""

    def __init__(self, most_bytes: int) -> None:
        self._known: LRUCache[Key, list[Caption]] = LRUCache(most_bytes, getsizeof=_size)
        self._running: dict[tuple[Key, ...], Future[Captions | None]] = {}  # None: it was given up
        self._lock = threading.Lock()

    def captions(
        self,
        digests: Sequence[str],
        generation: Generation,
        make: Callable[[], Captions],
        deadline: float,
        has_left: Callable[[], bool],
        timings: Timings | None = None,
    ) -> Captions:
        """The captions of images with these digests.

        They are known if those of all images are; else `make` makes them, or another request does that is the same.
        A draw without a seed is always made. Hits are counted, and noted in `timings`.
        Raises what `make` does, and DeadlineExceeded or ClientLeft as it does.
        """
        if generation.do_sample and generation.seed is None:
            return make()
        began = time.perf_counter()
        keys = tuple((digest, generation) for digest in digests)
        known = self._find(keys, deadline, has_left)
        if known is None:
            return self._make(keys, make)
        metrics.current.cache_hits.inc(len(keys))
        if timings is not None:
            timings.seconds["cache"] = time.perf_counter() - began
        return known

    def _find(self, keys: tuple[Key, ...], deadline: float, has_left: Callable[[], bool]) -> Captions | None:
        """Known captions, or those that another request is making. None: the caller is to make them."""
        until = time.monotonic() + deadline
        while True:
            with self._lock:
                if all(key in self._known for key in keys):
                    return [self._known[key] for key in keys]
                running = self._running.get(keys)
                if running is None:
                    self._running[keys] = Future()
                    return None
            if (made := _wait_for(running, until, deadline, has_left)) is not None:
                return made

    def _make(self, keys: tuple[Key, ...], make: Callable[[], Captions]) -> Captions:
        """Make captions for all requests that wait for them. If that fails, one of these tries next."""
        made: Captions | None = None
        try:
            made = make()
            return made
        finally:
            with self._lock:
                running = self._running.pop(keys)
                for key, captions in zip(keys, made or (), strict=False):
                    with suppress(ValueError):  # larger than the whole cache
                        self._known[key] = captions
            running.set_result(made)


def _wait_for(
    running: "Future[Captions | None]", until: float, deadline: float, has_left: Callable[[], bool]
) -> Captions | None:
    while (left := until - time.monotonic()) > 0:
        with suppress(TimeoutError):
            return running.result(min(POLL_INTERVAL, left))
        if has_left():
            raise ClientLeft("the client disconnected")
    raise DeadlineExceeded(f"the captions were not ready within {deadline:g} seconds")


def _size(captions: list[Caption]) -> int:
    return ENTRY + sum(2 * len(caption.text) + TOKEN * len(caption.token_ids) for caption in captions)
