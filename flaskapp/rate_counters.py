"""Counters of rate limits that go on in this process while their storage is unreachable."""

import logging
from collections.abc import Callable
from typing import TypeVar

from limits.storage import MemoryStorage
from limits.strategies import FixedWindowRateLimiter, RateLimiter

log = logging.getLogger(__name__)

Answer = TypeVar("Answer")


class RateCounters:
    def __init__(self, strategy: Callable[[], RateLimiter]) -> None:
        """`strategy` returns the one that counts in the storage."""
        self._strategy = strategy
        self._fallback = FixedWindowRateLimiter(MemoryStorage())

    def ask(self, question: Callable[[RateLimiter], Answer]) -> Answer:
        """Put a question to the strategy, or to one in this process's memory if the storage fails."""
        try:
            return question(self._strategy())
        except Exception as error:  # each storage has errors of its own
            log.warning("Rates are counted in this process alone: %s", type(error).__name__)
            return question(self._fallback)
