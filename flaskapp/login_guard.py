"""The limit on wrong passwords for one username, and the clients that it does not apply to.

A limit by address alone does not stop a guesser with many addresses. A limit by username alone lets any client lock out
its owner. So clients that have logged in under a name before are exempt (OWASP's "device cookies", with the address as
the device); the limit by address still holds for them.
"""

import hashlib
import logging
import unicodedata
from collections.abc import Callable
from contextlib import suppress

from limits import parse_many
from limits.storage import Storage

from flaskapp.errors import TooManyAttempts, WrongPassword
from flaskapp.rate_counters import RateCounters
from flaskapp.setting_values import OFF

log = logging.getLogger(__name__)

KNOWN_FOR = 30 * 86400  # seconds
SCOPE = "username"


class LoginGuard:
    def __init__(self, rate: str, counters: RateCounters, known_clients: Storage) -> None:
        """`counters` count wrong passwords. `known_clients` is a storage of its own, without counters in it."""
        self._limits = [] if rate == OFF else parse_many(rate)
        self._counters, self._known_clients = counters, known_clients

    def admit(self, client: str, username: str, check: Callable[[], None]) -> None:
        """Run a check of a password, and count it if it is wrong.

        Raises TooManyAttempts, without running it, after too many wrong passwords for this name from clients that never
        logged in under it; and what `check` raises.
        """
        if not self._limits:
            check()
            return
        name = _digest(username)
        for limit in self._limits:
            is_within = self._counters.ask(lambda strategy, limit=limit: strategy.test(limit, SCOPE, name))  # type: ignore[misc]
            if not is_within and not self._is_known(client, name):
                raise TooManyAttempts("too many wrong passwords for this username", limit.get_expiry())
        try:
            check()
        except WrongPassword:
            for limit in self._limits:
                self._counters.ask(lambda strategy, limit=limit: strategy.hit(limit, SCOPE, name))  # type: ignore[misc]
            raise
        with suppress(Exception):  # each storage has errors of its own
            self._known_clients.incr(_known(client, name), KNOWN_FOR)

    def _is_known(self, client: str, name: str) -> bool:
        try:
            return self._known_clients.get(_known(client, name)) > 0
        except Exception as error:  # each storage has errors of its own
            log.warning("The clients that have logged in before cannot be looked up: %s", type(error).__name__)
            return False


def _digest(username: str) -> str:
    """Folds case and width, which some databases ignore. Hashed, so that no other storage holds usernames."""
    folded = unicodedata.normalize("NFKC", username).casefold().strip()
    return hashlib.sha256(folded.encode(errors="surrogatepass")).hexdigest()


def _known(client: str, name: str) -> str:
    return f"flaskapp/known/{name}/{client}"
