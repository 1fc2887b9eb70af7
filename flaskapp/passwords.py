"""Hash and verify passwords with argon2id. A hash occupies 19 MiB and a core, so their number at once is limited."""

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from flaskapp.machine import usable_cores
from flaskapp.semaphore import WeightedSemaphore
from flaskapp.threads import Threads

# OWASP's recommendation for argon2id: 19 MiB, 2 passes, 1 lane.
hasher = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)

MAX_CONCURRENT = min(4, usable_cores())  # hashes in this process
WAIT = 5.0  # seconds

# Hash of an unknown random password. Verifying it makes an unknown username take as long as a wrong password.
DUMMY_HASH = "$argon2id$v=19$m=19456,t=2,p=1$HMxl9jSBBSmY62eTN62/3A$MHkwDHevkUWC17T/ONg79N7dqZPSf6p2SI6JikjTX8w"

semaphore = WeightedSemaphore(MAX_CONCURRENT, WAIT, "too many logins at once")
threads = Threads(MAX_CONCURRENT)


def hash_of(password: str) -> str:
    """Hash a password. Raise TooBusy if too many hashes wait."""
    with semaphore.take():
        return threads.run(lambda: hasher.hash(password))


def is_hash_of(known_hash: str, password: str) -> bool:
    """Verify a password. Raise TooBusy if too many hashes wait."""
    with semaphore.take():
        try:
            return threads.run(lambda: hasher.verify(known_hash, password))
        except (VerificationError, InvalidHashError):  # another password, or a damaged row
            return False
