"""Cache of recently accepted logins, so that not every request computes an argon2 hash."""

import hashlib
import secrets
import threading
import time
from collections.abc import Callable

from cachetools import TTLCache

TTL = 60  # seconds
MAX_ENTRIES = 1024


class LoginCache:
    """Keyed hashes of clients, usernames and passwords, in the memory of this process.

    A hit does not extend the lifetime of its entry: a removed login or an old password is rejected within TTL. The key
    includes the client, so that guesses of other clients are checked and counted while the owner is active.
    """

    def __init__(self, timer: Callable[[], float] = time.monotonic) -> None:
        self._key = secrets.token_bytes(32)
        self._logins: TTLCache[bytes, bool] = TTLCache(MAX_ENTRIES, TTL, timer=timer)
        self._lock = threading.Lock()

    def add(self, client: str, username: str, password: str) -> None:
        with self._lock:
            self._logins[self._digest(client, username, password)] = True

    def __contains__(self, login: tuple[str, str, str]) -> bool:
        """Whether a client, a username and a password were added."""
        with self._lock:
            return self._digest(*login) in self._logins

    def _digest(self, client: str, username: str, password: str) -> bytes:
        """Hash with the lengths, to distinguish ("ab", "c") from ("a", "bc")."""
        message = f"{len(client)} {len(username)} {client}{username}{password}".encode(errors="surrogatepass")
        return hashlib.blake2b(message, key=self._key, digest_size=32).digest()
