"""Logins that were right a moment ago, so that not every request of a client pays for argon2."""

import hashlib
import secrets
import threading
import time
from collections.abc import Callable

from cachetools import TTLCache

SECONDS = 60
ENTRIES = 1024


class RememberedLogins:
    """Pairs of a name and a password, in this process's memory alone, and only as keyed hashes of them.

    Being seen again does not prolong a pair's time: who was removed, or has another password, is out within SECONDS.
    """

    def __init__(self, timer: Callable[[], float] = time.monotonic) -> None:
        self._key = secrets.token_bytes(32)
        self._pairs: TTLCache[bytes, bool] = TTLCache(ENTRIES, SECONDS, timer=timer)
        self._lock = threading.Lock()

    def add(self, username: str, password: str) -> None:
        with self._lock:
            self._pairs[self._digest(username, password)] = True

    def __contains__(self, pair: tuple[str, str]) -> bool:
        with self._lock:
            return self._digest(*pair) in self._pairs

    def _digest(self, username: str, password: str) -> bytes:
        """The names' length keeps ("ab", "c") and ("a", "bc") apart."""
        message = f"{len(username)} {username}{password}".encode(errors="surrogatepass")
        return hashlib.blake2b(message, key=self._key, digest_size=32).digest()
