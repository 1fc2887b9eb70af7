from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import httpx2
import pytest

from flaskapp.captioner.checkpoints.hub_client import LONGEST_RETRY_AFTER, parse_retry_after


def test_retry_after_may_be_seconds_a_date_or_the_hub_s_own_header() -> None:
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=100), usegmt=True)
    assert parse_retry_after(httpx2.Headers({"Retry-After": "7"})) == 7
    assert parse_retry_after(httpx2.Headers({"Retry-After": date})) == pytest.approx(100, abs=5)
    assert parse_retry_after(httpx2.Headers({"RateLimit": '"api";r=0;t=55'})) == 55


@pytest.mark.parametrize("value", ["", "soon", "-5", "1e9"])
def test_an_invalid_retry_after_is_ignored(value: str) -> None:
    assert parse_retry_after(httpx2.Headers({"Retry-After": value})) is None


def test_a_retry_after_is_capped_and_one_in_the_past_is_0() -> None:
    assert parse_retry_after(httpx2.Headers({"Retry-After": "99999999"})) == LONGEST_RETRY_AFTER
    assert parse_retry_after(httpx2.Headers({"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"})) == 0
