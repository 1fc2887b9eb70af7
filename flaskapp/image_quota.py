"""The quota of images that one client may have captioned in a time."""

import hashlib
import math
import time
from typing import NamedTuple

from limits import RateLimitItem, parse_many
from limits.strategies import RateLimiter

from flaskapp.errors import QuotaExceeded
from flaskapp.rate_counters import RateCounters
from flaskapp.setting_values import OFF

SCOPE = "images"


class Balance(NamedTuple):
    """What is left of the quota. Of several rates, of the one with the fewest images left."""

    limit: RateLimitItem
    remaining: int  # images
    reset_at: float  # seconds since 1970


class Admission(NamedTuple):
    is_admitted: bool
    balance: Balance


class ImageQuota:
    def __init__(self, rate: str, counters: RateCounters) -> None:
        self._limits = [] if rate == OFF else parse_many(rate)
        self._counters = counters

    def take(self, client: str, images: int) -> Admission | None:
        """Count images for a client, all of them or, if some exceed the quota, none. None if the quota is off."""
        if not self._limits:
            return None
        key = hashlib.sha256(client.encode(errors="surrogatepass")).hexdigest()  # no other storage holds usernames
        return self._counters.ask(lambda strategy: self._take(strategy, key, images))

    def _take(self, strategy: RateLimiter, key: str, images: int) -> Admission:
        # The test keeps a request that is refused from using up the quota: a hit counts whatever it returns.
        for act in (strategy.test, strategy.hit):
            for limit in self._limits:
                if not act(limit, SCOPE, key, cost=images):
                    return Admission(False, _balance(strategy, limit, key))
        balances = [_balance(strategy, limit, key) for limit in self._limits]
        return Admission(True, min(balances, key=lambda balance: balance.remaining))


def refusal(images: int, balance: Balance) -> QuotaExceeded:
    """The error for images that were not admitted."""
    message = f"image quota exceeded: {images} images requested, {balance.remaining} left of {balance.limit}"
    return QuotaExceeded(message, max(1, math.ceil(balance.reset_at - time.time())))


def _balance(strategy: RateLimiter, limit: RateLimitItem, key: str) -> Balance:
    reset_at, remaining = strategy.get_window_stats(limit, SCOPE, key)
    return Balance(limit, remaining, reset_at)
