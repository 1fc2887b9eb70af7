"""The quota of images for each client: a rate limit that counts images, not requests."""

import hashlib
import logging
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import NamedTuple, Self

from limits import RateLimitItem, parse_many
from limits.strategies import RateLimiter

from flaskapp.errors import ClientLeft, DeadlineExceeded, QuotaExceeded
from flaskapp.rate_counters import RateCounters
from flaskapp.setting_values import OFF

log = logging.getLogger(__name__)

SCOPE = "images"

# Seconds before the end of a window in which no images are given back: the storage could subtract them from the next
# window. Redis rounds the end to whole seconds, and may take two seconds to answer.
MARGIN = 5


class Balance(NamedTuple):
    """The remaining quota under one rate."""

    limit: RateLimitItem
    remaining: int  # images
    reset_at: float  # seconds since 1970


class Window(NamedTuple):
    """The count of one client under one rate, in the storage where it was counted."""

    strategy: RateLimiter
    limit: RateLimitItem
    key: str

    def balance(self) -> Balance:
        reset_at, remaining = self.strategy.get_window_stats(self.limit, SCOPE, self.key)
        return Balance(self.limit, remaining, reset_at)

    def has_room(self, images: int) -> bool:
        return self.strategy.test(self.limit, SCOPE, self.key, cost=images)

    def count(self, images: int) -> bool:
        """Count the images, even if they exceed the limit. Return whether they are within it."""
        return self.strategy.hit(self.limit, SCOPE, self.key, cost=images)


@dataclass
class Admission:
    """Images that were counted for a client, or rejected. Without a quota, `windows` is empty.

    As a context manager, it gives all images back if the block raises an error. After a deadline, or if the client
    disconnected, they stay counted, because the model has worked on them.
    """

    images: int
    windows: Sequence[Window] = ()
    balances: Sequence[Balance] = ()
    is_admitted: bool = True

    @property
    def balance(self) -> Balance | None:
        """The balance of the rate with the fewest images left."""
        return min(self.balances, key=lambda balance: balance.remaining, default=None)

    def give_back(self, images: int) -> None:
        """Subtract images from the windows that counted them. If the storage fails, they stay counted."""
        if not images:
            return
        try:
            for window, balance in zip(self.windows, self.balances, strict=True):
                if time.time() < balance.reset_at - MARGIN:
                    window.count(-images)
            self.balances = [window.balance() for window in self.windows]
        except Exception as error:  # each storage has errors of its own
            log.warning("Images could not be given back to a quota: %s", type(error).__name__)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if isinstance(error, Exception) and not isinstance(error, DeadlineExceeded | ClientLeft):
            self.give_back(self.images)


class ImageQuota:
    def __init__(self, rate: str, counters: RateCounters) -> None:
        self._limits = [] if rate == OFF else parse_many(rate)
        self._counters = counters

    def take(self, client: str, images: int) -> Admission:
        """Count images for a client: all of them, or none if they exceed the quota.

        Call it before the work: if images were counted afterwards, concurrent requests could exceed the quota.
        """
        if not self._limits:
            return Admission(images)
        key = hashlib.sha256(client.encode(errors="surrogatepass")).hexdigest()  # keeps usernames out of the storage
        return self._counters.call(
            lambda strategy: _take([Window(strategy, limit, key) for limit in self._limits], images)
        )


def _take(windows: Sequence[Window], images: int) -> Admission:
    for window in windows:
        if not window.has_room(images):
            return Admission(0, [], [window.balance()], is_admitted=False)
    for number, window in enumerate(windows, 1):
        if not window.count(images):  # concurrent requests took the rest; `count` has counted nevertheless
            for counted in windows[:number]:
                counted.count(-images)
            return Admission(0, [], [window.balance()], is_admitted=False)
    return Admission(images, windows, [window.balance() for window in windows])


def refusal(images: int, balance: Balance) -> QuotaExceeded:
    """Return the error for images that exceed the quota."""
    message = f"image quota exceeded: {images} images requested, {balance.remaining} left of {balance.limit}"
    return QuotaExceeded(message, max(1, math.ceil(balance.reset_at - time.time())))
