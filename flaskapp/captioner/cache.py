"""Cache of captions in the engine process. Equal requests that run at the same time are captioned once.

The key is the SHA-256 of the whole upload, with the request's generation. Each loaded model has its own cache.
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
ENTRY_BYTES = 1000  # of an entry, without its text and token ids
TOKEN_BYTES = 36  # of a token id

Captions = list[list[Caption]]
Key = tuple[str, Generation]


class CaptionCache:
    """An LRU cache of at most `max_bytes`."""

    def __init__(self, max_bytes: int) -> None:
        self._cached: LRUCache[Key, list[Caption]] = LRUCache(max_bytes, getsizeof=_size)
        self._running: dict[tuple[Key, ...], Future[Captions | None]] = {}  # None: the request failed
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
        """Return the captions of the images with these digests.

        They come from the cache if it has those of all images, from an equal request that is running, or from `make`.
        Sampling without a seed is never cached. Hits are counted in the metrics, and their time is set in `timings`.
        Raises what `make` raises, and DeadlineExceeded or ClientLeft while waiting for an equal request.
        """
        if generation.do_sample and generation.seed is None:
            return make()
        began = time.perf_counter()
        keys = tuple((digest, generation) for digest in digests)
        found = self._find(keys, deadline, has_left)
        if found is None:
            return self._make(keys, make)
        metrics.current.cache_hits.inc(len(keys))
        if timings is not None:
            timings.seconds["cache"] = time.perf_counter() - began
        return found

    def _find(self, keys: tuple[Key, ...], deadline: float, has_left: Callable[[], bool]) -> Captions | None:
        """Return captions from the cache or from an equal running request. None: the caller must make them."""
        until = time.monotonic() + deadline
        while True:
            with self._lock:
                if all(key in self._cached for key in keys):
                    return [self._cached[key] for key in keys]
                running = self._running.get(keys)
                if running is None:
                    self._running[keys] = Future()
                    return None
            if (made := _wait_for(running, until, deadline, has_left)) is not None:
                return made

    def _make(self, keys: tuple[Key, ...], make: Callable[[], Captions]) -> Captions:
        """Make captions for this request and the equal ones that wait. If it fails, one of those tries next."""
        made: Captions | None = None
        try:
            made = make()
            return made
        finally:
            with self._lock:
                running = self._running.pop(keys)
                for key, captions in zip(keys, made or (), strict=False):
                    with suppress(ValueError):  # larger than the whole cache
                        self._cached[key] = captions
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
    return ENTRY_BYTES + sum(2 * len(caption.text) + TOKEN_BYTES * len(caption.token_ids) for caption in captions)
