"""Rate limit of wrong passwords by username, with an exemption for known clients.

A limit by address alone does not stop an attacker with many addresses. A limit by username alone lets any client lock
out the owner. Therefore clients that have logged in with the username before are exempt (OWASP's "device cookies", with
the address as the device). The limit by address still applies to them.
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

KNOWN_CLIENT_TTL = 30 * 86400  # seconds
SCOPE = "username"


class LoginGuard:
    def __init__(self, rate: str, counters: RateCounters, known_clients: Storage) -> None:
        """`counters` counts wrong passwords. `known_clients` stores the clients that have logged in."""
        self._limits = [] if rate == OFF else parse_many(rate)
        self._counters, self._known_clients = counters, known_clients

    def admit(self, client: str, username: str, check: Callable[[], None]) -> None:
        """Run `check`, and count a wrong password.

        Raise TooManyAttempts, without the check, if the username has had too many wrong passwords and the client is not
        known. Raises the errors of `check`.
        """
        if not self._limits:
            check()
            return
        name = _digest(username)
        for limit in self._limits:
            is_within = self._counters.call(lambda strategy, limit=limit: strategy.test(limit, SCOPE, name))  # type: ignore[misc]
            if not is_within and not self._is_known(client, name):
                raise TooManyAttempts("too many wrong passwords for this username", limit.get_expiry())
        try:
            check()
        except WrongPassword:
            for limit in self._limits:
                self._counters.call(lambda strategy, limit=limit: strategy.hit(limit, SCOPE, name))  # type: ignore[misc]
            raise
        with suppress(Exception):  # each storage has errors of its own
            self._known_clients.incr(_known_client_key(client, name), KNOWN_CLIENT_TTL)

    def _is_known(self, client: str, name: str) -> bool:
        try:
            return self._known_clients.get(_known_client_key(client, name)) > 0
        except Exception as error:  # each storage has errors of its own
            log.warning("The clients that have logged in before cannot be looked up: %s", type(error).__name__)
            return False


def _digest(username: str) -> str:
    """Hash a username, to keep it out of the storage. Fold case and width, which some databases ignore."""
    folded = unicodedata.normalize("NFKC", username).casefold().strip()
    return hashlib.sha256(folded.encode(errors="surrogatepass")).hexdigest()


def _known_client_key(client: str, name: str) -> str:
    return f"flaskapp/known/{name}/{client}"
