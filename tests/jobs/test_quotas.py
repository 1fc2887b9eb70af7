"""Limits of waiting work, for all clients together and for each."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from flaskapp.database import Database
from flaskapp.errors import QuotaExceeded, TooBusy
from flaskapp.jobs.claims import Outcome
from flaskapp.jobs.ledger import Ledger
from flaskapp.jobs.quotas import Quotas
from tests.jobs.ledgers import CAPTIONS, claimed, database, make_job
from tests.postgresql import database_url, postgresql

__all__ = ["database", "database_url", "postgresql"]  # fixtures


def test_unended_jobs_have_a_size_limit(database: Database) -> None:
    ledger = Ledger(database, Quotas(total_bytes=100))
    large = ledger.open("", "key", "", {}, 1, size=1000).id
    with pytest.raises(TooBusy) as caught:
        ledger.open("", None, "", {}, 1, size=1)
    assert caught.value.retry_after
    assert ledger.open("", "key", "", {}, 1, size=1000).id == large, "the existing job is found"
    ledger.cancel(large)
    small = [ledger.open("", None, "", {}, 1, size=50).id for _ in range(2)]
    with pytest.raises(TooBusy):
        ledger.open("", None, "", {}, 1, size=1)
    ledger.cancel(small[0])
    assert ledger.open("", None, "", {}, 1, size=50)


def test_concurrent_jobs_do_not_exceed_the_size_limit(database: Database) -> None:
    ledger = Ledger(database, Quotas(total_bytes=100))
    ledger.has_work()

    def submit(number: int) -> bool:
        try:
            ledger.open("", None, "", {}, 1, size=40, client=str(number))
        except TooBusy:
            return False
        return True

    with ThreadPoolExecutor(12) as pool:
        assert sum(pool.map(submit, range(12))) == 2


def test_each_client_has_its_own_limits_of_jobs_and_waiting_images(database: Database) -> None:
    ledger = Ledger(database, Quotas(client_images=6, client_jobs=2))
    first = make_job(ledger, images=4, client="ada")
    with pytest.raises(QuotaExceeded, match="4 of your images wait already, and 6 may"):
        make_job(ledger, images=3, client="ada")
    make_job(ledger, images=3, client="bob")
    ledger.save(claimed(ledger, first), {0: CAPTIONS, 1: Outcome(error="broken")})
    second = make_job(ledger, images=4, client="ada")
    with pytest.raises(QuotaExceeded, match="2 of your caption jobs wait already") as caught:
        make_job(ledger, images=1, client="ada")
    assert caught.value.retry_after
    ledger.cancel(first)
    ledger.cancel(second)
    assert make_job(ledger, images=100, client="ada"), "a client's only job always fits"


def test_images_being_uploaded_count_as_waiting(database: Database) -> None:
    ledger = Ledger(database, Quotas(client_images=6))
    ledger.open("", None, "", {}, 5, client="ada")
    with pytest.raises(QuotaExceeded):
        ledger.open("", None, "", {}, 2, client="ada")
