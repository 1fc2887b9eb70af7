"""A storage of `limits` in memory that forked workers share, so that rate limits count the requests of all workers.

The library's own storages need a server, or count for each process separately.
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
COUNTER = struct.Struct("dq")  # end of the window (seconds since 1970), count


class SharedCounters(Storage):
    """Counters shared by all processes that were forked from the process that imported this module.

    The n-th storage of each process shares its counters with the n-th storage of the others.

    This is a hash table without collision handling: two keys share a counter with probability 1 / COUNTERS. A shared
    counter may reject a client too early, never too late. The hash is keyed, so that clients cannot find collisions.
    """

    STORAGE_SCHEME = ["shared"]  # noqa: RUF012 - as in `limits`

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
            if not now < end <= now + expiry:  # expired, or the clock was set back
                end, count = now + expiry, 0
            count = max(0, count + amount)  # not below 0, if more is given back than this window has
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
        """Exclude other threads and processes. The system releases the file lock of a process that dies."""
        with self._thread_lock:
            fcntl.lockf(_file, fcntl.LOCK_EX)
            try:
                yield
            finally:
                fcntl.lockf(_file, fcntl.LOCK_UN)


def open_unnamed_file() -> int:
    """Open a file in memory if the system supports it: a container may have no writable folder."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create("flaskapp-counters")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


_numbers = count()
_secret = secrets.token_bytes(16)
_file = open_unnamed_file()
os.truncate(_file, COUNTERS * COUNTER.size)
