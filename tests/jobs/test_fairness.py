"""Fair scheduling of chunks among clients."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from flaskapp.jobs import ledger as ledgers
from flaskapp.jobs.claims import ChunkId
from flaskapp.jobs.ledger import Ledger
from flaskapp.jobs.tables import DONE
from tests.jobs.ledgers import CAPTIONS, database, ledger, make_job, state
from tests.postgresql import database_url, postgresql

__all__ = ["database", "database_url", "ledger", "postgresql"]  # fixtures


def order_of(ledger: Ledger, messages: Sequence[ChunkId]) -> list[str]:
    """Return the jobs of the chunks that are processed for these messages."""
    order = []
    for message in messages:
        claim = ledger.claim_next(message)
        assert claim is not None
        order.append(claim.chunk.job_id)
        ledger.save(claim, dict.fromkeys(claim.images, CAPTIONS))
    return order


def test_clients_take_turns_regardless_of_their_backlogs(ledger: Ledger) -> None:
    """One client has jobs of a single chunk, which end with their turn."""
    large = make_job(ledger, images=8, chunk_size=1, client="ada")
    small = [make_job(ledger, images=1, client="bob") for _ in range(4)]
    late = make_job(ledger, images=2, chunk_size=1, client="eve")
    messages = [ChunkId(large, number) for number in range(8)]
    messages += [*(ChunkId(job, 0) for job in small), ChunkId(late, 0), ChunkId(late, 1)]
    order = order_of(ledger, messages)
    owners = ["ada" if job == large else "eve" if job == late else "bob" for job in order]
    assert sorted(owners[:3]) == sorted(owners[3:6]) == ["ada", "bob", "eve"]
    assert [owner for owner in owners if owner != "eve"] == ["ada", "bob"] * 4 + ["ada"] * 4
    assert [job for job in order if job in small] == small, "a client's jobs run in order"
    assert {state(ledger, job)[0] for job in (large, late, *small)} == {DONE}
    assert ledger.claim_next(messages[0]) is None


def test_a_message_used_for_another_chunk_makes_no_chunk_seem_lost(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada = make_job(ledger, images=3, chunk_size=1, client="ada")
    bob = make_job(ledger, images=2, chunk_size=1, client="bob")
    messages = [*(ChunkId(ada, number) for number in range(3)), ChunkId(bob, 0), ChunkId(bob, 1)]
    monkeypatch.setattr(ledgers, "DELIVERY_TIME", -1.0)
    monkeypatch.setattr(ledgers, "REORDERING", -1.0)
    order_of(ledger, messages[:3])
    assert set(ledger.lost_chunks(is_queue_empty=False)) <= set(messages[3:]), "their messages have not arrived"
    left = ledger.lost_chunks(is_queue_empty=True)
    assert len(left) == 2
    order_of(ledger, left)
    assert (state(ledger, ada)[0], state(ledger, bob)[0]) == (DONE, DONE)


def test_many_workers_take_each_chunk_once(ledger: Ledger) -> None:
    jobs = [make_job(ledger, images=6, chunk_size=1, client=client) for client in ("ada", "bob", "eve")]
    messages = [ChunkId(job, number) for job in jobs for number in range(6)]
    with ThreadPoolExecutor(6) as pool:
        claims = [claim for claim in pool.map(ledger.claim_next, messages) if claim]
    claims += iter(lambda: ledger.claim_next(messages[0]), None)  # PostgreSQL skips locked rows: send again
    assert sorted(claim.chunk for claim in claims) == sorted(messages)
