"""Passwords as argon2id hashes. A hash takes 19 MiB and a core for a moment, so only a few are computed at once."""

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from flaskapp.machine import usable_cores
from flaskapp.semaphore import WeightedSemaphore
from flaskapp.threads import Threads

# argon2id at OWASP's first recommendation: 19 MiB, 2 passes, 1 lane.
hasher = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)

AT_ONCE = min(4, usable_cores())  # hashes in this process
WAIT = 5.0  # seconds that a hash may wait for its turn

# Of random characters that were not kept: an unknown username takes as long as a wrong password.
NOBODY = "$argon2id$v=19$m=19456,t=2,p=1$HMxl9jSBBSmY62eTN62/3A$MHkwDHevkUWC17T/ONg79N7dqZPSf6p2SI6JikjTX8w"

semaphore = WeightedSemaphore(AT_ONCE, WAIT, "too many logins at once")
threads = Threads(AT_ONCE)


def hash_of(password: str) -> str:
    """Raises TooBusy, as is_hash_of does, when its turn does not come in time."""
    with semaphore.take():
        return threads.run(lambda: hasher.hash(password))


def is_hash_of(known_hash: str, password: str) -> bool:
    with semaphore.take():
        try:
            return threads.run(lambda: hasher.verify(known_hash, password))
        except (VerificationError, InvalidHashError):  # another password, or a damaged row
            return False
