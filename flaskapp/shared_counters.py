"""Counters in memory that forked workers share: rate limits hold for all of them, without a server and without a file.

The other storages of `limits` need a server, or count for each process alone.
"""

import fcntl
import hashlib
import mmap
import os
import secrets
import struct
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count

from limits.storage import Storage

SHARED = "shared://"  # the URL
COUNTERS = 2**18
COUNTER = struct.Struct("dq")  # the time at which its window ends, and the count


class SharedCounters(Storage):
    """Where processes count together that were forked from one that had imported this module.

    The first that is made in each counts with the first of the others, and with no second one.

    A key is hashed to its counter. Two that meet at one, by a chance of 1 in COUNTERS, count together: that may refuse
    a client too early, and never lets one escape. The hash has a secret, so that collisions cannot be looked for.
    """

    STORAGE_SCHEME = ["shared"]  # noqa: RUF012 - as `limits` has it

    def __init__(self, uri: str | None = None, wrap_exceptions: bool = False, **options: float | str | bool) -> None:
        super().__init__(uri, wrap_exceptions, **options)
        self._salt = next(_numbers).to_bytes(hashlib.blake2b.SALT_SIZE)
        self._memory = mmap.mmap(_file, COUNTERS * COUNTER.size)
        self._thread_lock = threading.Lock()

    @property
    def base_exceptions(self) -> type[Exception]:
        return OSError

    def incr(self, key: str, expiry: float, amount: int = 1) -> int:
        with self._locked():
            now = time.time()
            end, count = COUNTER.unpack_from(self._memory, self._place(key))
            if not now < end <= now + expiry:  # over, or from before the clock was set back
                end, count = now + expiry, 0
            count = max(0, count + amount)  # of what is given back, a part may have been counted for another key
            COUNTER.pack_into(self._memory, self._place(key), end, count)
            return int(count)

    def get(self, key: str) -> int:
        with self._locked():
            end, count = COUNTER.unpack_from(self._memory, self._place(key))
            return int(count) if time.time() < end else 0

    def get_expiry(self, key: str) -> float:
        with self._locked():
            return float(max(time.time(), COUNTER.unpack_from(self._memory, self._place(key))[0]))

    def check(self) -> bool:
        return True

    def reset(self) -> int | None:
        with self._locked():
            self._memory[:] = bytes(len(self._memory))
        return None

    def clear(self, key: str) -> None:
        with self._locked():
            COUNTER.pack_into(self._memory, self._place(key), 0.0, 0)

    def _place(self, key: str) -> int:
        digest = hashlib.blake2b(key.encode(), key=_secret, salt=self._salt, digest_size=8).digest()
        return int.from_bytes(digest) % COUNTERS * COUNTER.size

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Alone among threads, and, by a lock that the system takes back from a process that dies, among processes."""
        with self._thread_lock:
            fcntl.lockf(_file, fcntl.LOCK_EX)
            try:
                yield
            finally:
                fcntl.lockf(_file, fcntl.LOCK_UN)


def open_unnamed_file() -> int:
    """In memory where the system can: a container may have no folder to write to."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create("flaskapp-counters")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


_numbers = count()
_secret = secrets.token_bytes(16)
_file = open_unnamed_file()
os.truncate(_file, COUNTERS * COUNTER.size)
