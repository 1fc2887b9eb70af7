"""The broker in a folder."""

import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from flask import Flask

from flaskapp.jobs import Jobs
from flaskapp.jobs.claims import ChunkId


def test_each_message_is_taken_once_in_order_without_temporary_files(
    make_app: Callable[..., Flask], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    jobs: Jobs = make_app().extensions["jobs"]
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
    with jobs.queue.open() as send:
        send(ChunkId("a job", number) for number in range(20))
    with jobs.queue._connect() as first, jobs.queue._connect() as second:
        queues = [each.SimpleQueue("flaskapp-captions") for each in (first, second)]
        messages = [queue.get(timeout=5) for _ in range(10) for queue in queues]
        assert [message.payload[0] for message in messages] == [["a job", number] for number in range(20)]
        for message in messages:
            message.ack()
        for queue in queues:
            queue.close()
    assert jobs.queue.is_empty()
    assert not (tmp_path / "missing").exists()
