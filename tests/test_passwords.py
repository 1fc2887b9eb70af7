import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from argon2 import PasswordHasher

from flaskapp import passwords
from flaskapp.errors import TooBusy
from flaskapp.semaphore import WeightedSemaphore


class CountingHasher(PasswordHasher):
    """The real hasher, which also counts concurrent computations."""

    def __init__(self, **parameters: Any) -> None:
        super().__init__(**parameters)
        self.lock = threading.Lock()
        self.running = self.most = 0

    def hash(self, *arguments: Any, **options: Any) -> str:
        with self.lock:
            self.running += 1
            self.most = max(self.most, self.running)
        try:
            return super().hash(*arguments, **options)
        finally:
            with self.lock:
                self.running -= 1


def test_the_hash_for_unknown_names_costs_as_much_as_others() -> None:
    assert not passwords.hasher.check_needs_rehash(passwords.DUMMY_HASH)
    assert not passwords.is_hash_of(passwords.DUMMY_HASH, "")


def test_the_number_of_concurrent_hashes_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    counting = CountingHasher(time_cost=2, memory_cost=1024, parallelism=1)
    monkeypatch.setattr(passwords, "hasher", counting)
    with ThreadPoolExecutor(32) as pool:
        hashes = list(pool.map(passwords.hash_of, ["secret"] * 64))
    assert len(set(hashes)) == 64
    assert counting.most <= passwords.MAX_CONCURRENT <= 4


def test_a_login_that_waits_too_long_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passwords, "semaphore", WeightedSemaphore(1, 0.01, "too many logins at once"))
    with passwords.semaphore.take():
        with pytest.raises(TooBusy, match="too many logins"):
            passwords.hash_of("secret")
        with pytest.raises(TooBusy, match="too many logins"):
            passwords.is_hash_of(passwords.DUMMY_HASH, "secret")
    assert passwords.is_hash_of(passwords.hash_of("secret"), "secret")
