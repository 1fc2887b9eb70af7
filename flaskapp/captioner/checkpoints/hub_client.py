"""The HTTP client that huggingface_hub uses for a download: retries temporary errors, and resumes broken-off files.

huggingface_hub 2.4.0 does not retry its first request, and fails when it resumes a file and gets a 5xx status. It
resumes after `RemoteProtocolError` and timeouts, but not after a connection reset, which httpx calls `ReadError`.
"""

import logging
import random
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any

import httpx2
from huggingface_hub.utils import parse_ratelimit_headers  # type: ignore[attr-defined] # public, by its docstring

log = logging.getLogger(__name__)

FIRST_PAUSE, LONGEST_PAUSE = 0.5, 8.0  # seconds between tries; doubled each time
LONGEST_RETRY_AFTER = 3600  # seconds


class Refused(Exception):
    """The hub kept answering with a temporary error until the retry time was over.

    Not one of httpx's errors: huggingface_hub would catch and retry those.
    """

    def __init__(self, status: int, retry_after: float | None) -> None:
        super().__init__(f"{status} {HTTPStatus(status).phrase}" if status in list(HTTPStatus) else str(status))
        self.retry_after = retry_after  # seconds, if the hub sent any


@dataclass
class HubState:
    """State that all clients of a download share: huggingface_hub makes a new one after a connection error."""

    retry_time: float  # seconds of retries for one request
    has_answered: threading.Event = field(default_factory=threading.Event)  # set by an answer of any status


class RetryingClient(httpx2.Client):
    """Retries 408, 429 and 5xx with exponential back-off and jitter, and honours Retry-After.

    Raises Refused if the next try would come after the retry time.
    """

    def __init__(self, state: HubState, **options: Any) -> None:
        super().__init__(**options)
        self._hub = state

    def send(self, request: httpx2.Request, **options: Any) -> httpx2.Response:
        began, pause = time.monotonic(), FIRST_PAUSE
        while True:
            with _resets_as_protocol_errors():
                response = super().send(request, **options)
            self._hub.has_answered.set()
            status = response.status_code
            if status not in (408, 429) and status < 500:
                response.stream = _ResumableStream(response.stream) if options.get("stream") else response.stream
                return response
            response.close()
            retry_after = parse_retry_after(response.headers)
            wait = max(pause * random.uniform(1, 1.5), retry_after or 0)
            if time.monotonic() + wait > began + self._hub.retry_time:
                raise Refused(status, retry_after)
            log.warning("The hub answered %d for %s; retry in %.1f seconds", status, request.url.path, wait)
            time.sleep(wait)
            pause = min(2 * pause, LONGEST_PAUSE)


class _ResumableStream(httpx2.SyncByteStream):
    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def __iter__(self) -> Iterator[bytes]:
        with _resets_as_protocol_errors():
            yield from self._stream

    def close(self) -> None:
        self._stream.close()


@contextmanager
def _resets_as_protocol_errors() -> Iterator[None]:
    """Convert a connection reset to the error after which huggingface_hub resumes a file."""
    try:
        yield
    except (httpx2.ReadError, httpx2.WriteError) as error:
        raise httpx2.RemoteProtocolError(str(error) or type(error).__name__) from error


def parse_retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds until the next allowed try, by a `RateLimit` or `Retry-After` (seconds or date) header."""
    limit = parse_ratelimit_headers(headers)
    if limit is not None and limit.remaining == 0:
        return min(limit.reset_in_seconds, LONGEST_RETRY_AFTER)
    value = headers.get("Retry-After", "").strip()
    try:
        seconds = float(value) if value.isdecimal() else _seconds_until(value)
    except ValueError:
        return None
    return min(max(0.0, seconds), LONGEST_RETRY_AFTER)


def _seconds_until(date: str) -> float:
    moment = parsedate_to_datetime(date)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() - datetime.now(UTC).timestamp()
