"""Cache of recently checked logins by client, so that not every request pays for argon2."""

import hashlib
import secrets
import threading
import time
from collections.abc import Callable

from cachetools import TTLCache

SECONDS = 60
ENTRIES = 1024


class LoginCache:
    """Clients, names and passwords, as keyed hashes, in the memory of this process.

    A hit does not extend an entry's time: a login that was removed, or has another password, is refused within SECONDS.
    The client is a part of the key: another client's guess is checked and counted, even while the owner is active.
    """

    def __init__(self, timer: Callable[[], float] = time.monotonic) -> None:
        self._key = secrets.token_bytes(32)
        self._logins: TTLCache[bytes, bool] = TTLCache(ENTRIES, SECONDS, timer=timer)
        self._lock = threading.Lock()

    def add(self, client: str, username: str, password: str) -> None:
        with self._lock:
            self._logins[self._digest(client, username, password)] = True

    def __contains__(self, login: tuple[str, str, str]) -> bool:
        """Whether a client, a name and a password were added."""
        with self._lock:
            return self._digest(*login) in self._logins

    def _digest(self, client: str, username: str, password: str) -> bytes:
        """The lengths keep ("ab", "c") and ("a", "bc") apart."""
        message = f"{len(client)} {len(username)} {client}{username}{password}".encode(errors="surrogatepass")
        return hashlib.blake2b(message, key=self._key, digest_size=32).digest()
