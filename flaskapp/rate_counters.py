"""Counters of rate limits, with a fallback in this process while their storage is unreachable."""

import logging
from collections.abc import Callable
from typing import TypeVar

from limits.storage import MemoryStorage
from limits.strategies import FixedWindowRateLimiter, RateLimiter

log = logging.getLogger(__name__)

Result = TypeVar("Result")


class RateCounters:
    def __init__(self, strategy: Callable[[], RateLimiter]) -> None:
        """`strategy` returns the strategy that counts in the storage."""
        self._strategy = strategy
        self._fallback = FixedWindowRateLimiter(MemoryStorage())

    def call(self, operation: Callable[[RateLimiter], Result]) -> Result:
        """Call `operation` with the strategy, or with the fallback if the storage fails."""
        try:
            return operation(self._strategy())
        except Exception as error:  # each storage has errors of its own
            log.warning(
                "The storage of rate limits failed, so this process counts for itself: %s", type(error).__name__
            )
            return operation(self._fallback)
