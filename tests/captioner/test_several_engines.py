"""How a web worker distributes requests among several engine processes."""

import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

import pytest

from flaskapp import errors
from flaskapp.captioner import Captioner, GenerationSettings, remote_engine, wire
from flaskapp.captioner.engine_client import EngineClient
from flaskapp.captioner.loader import LOADING
from flaskapp.captioner.remote_engine import STOPPED, RemoteEngine, Status
from tests.captioner.test_engine_client import IMAGES, client, listener, listening, local

__all__ = ["client", "listener", "local"]  # fixtures


@pytest.fixture
def second(tmp_path: Path) -> Iterator[socket.socket]:
    """Yield the socket of a second engine."""
    with listening(tmp_path / "second") as listener:
        yield listener


def status_of(problem: str | None) -> wire.Message:
    return {**asdict(Status()), "problem": problem}


def answer_to(listener: socket.socket, expected: str, reply: wire.Message) -> None:
    """Answer one request, as an engine does."""
    connection, _ = listener.accept()
    with connection:
        assert wire.receive(connection)[0]["do"] == expected
        wire.send(connection, reply)


def test_a_request_goes_to_the_engine_with_the_fewest_requests(
    listener: socket.socket, second: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote_engine, "STATUS_MAX_AGE", 60.0)  # their status is requested once
    with ThreadPoolExecutor(6) as pool:
        for each in (listener, second):
            pool.submit(answer_to, each, "status", status_of(None))
        client = EngineClient([listener.getsockname(), second.getsockname()], 30)
        assert client.problem is None
        asked = [pool.submit(client.describe, IMAGES, GenerationSettings()) for _ in range(4)]
        for each in (listener, second):
            each.settimeout(10)
            connections = [each.accept()[0] for _ in range(2)]
            assert [wire.receive(connection)[0]["do"] for connection in connections] == ["describe"] * 2
            for connection in connections:
                wire.send(connection, wire.encode_error(errors.CaptionFailed("the model failed")))
                connection.close()
        for future in asked:
            with pytest.raises(errors.CaptionFailed):
                future.result(10)


@pytest.mark.usefixtures("client")
def test_requests_and_the_status_come_from_the_engine_with_a_model(
    local: Captioner, listener: socket.socket, second: socket.socket
) -> None:
    with ThreadPoolExecutor(1) as pool:
        pool.submit(answer_to, second, "status", status_of(LOADING))
        both = EngineClient([second.getsockname(), listener.getsockname()], 30)
        assert both.problem is None
    assert both.name == local.name
    for _ in range(4):
        assert both.describe(IMAGES, GenerationSettings()) == local.describe(IMAGES, GenerationSettings())


@pytest.mark.usefixtures("client")
def test_a_request_refused_by_a_busy_engine_goes_to_the_other(
    local: Captioner, listener: socket.socket, second: socket.socket
) -> None:
    busy = wire.encode_error(errors.TooBusy("too many", retry_after=7))
    both = EngineClient([second.getsockname(), listener.getsockname()], 30)
    with ThreadPoolExecutor(2) as pool, both._engines[1].in_flight_request():  # the other has more requests
        pool.submit(answer_to, second, "status", status_of(None)).add_done_callback(
            lambda _: pool.submit(answer_to, second, "describe", busy)
        )
        assert both.describe(IMAGES, GenerationSettings()) == local.describe(IMAGES, GenerationSettings())


@pytest.mark.usefixtures("client")
def test_a_request_to_an_ended_engine_goes_to_the_other_and_the_ended_one_is_avoided(
    local: Captioner, listener: socket.socket, second: socket.socket
) -> None:
    both = EngineClient([second.getsockname(), listener.getsockname()], 30)
    with ThreadPoolExecutor(1) as pool, both._engines[1].in_flight_request():
        pool.submit(answer_to, second, "status", status_of(None))
        assert both.problem is None
        end = pool.submit(lambda: second.accept()[0].close())
        for _ in range(2):
            assert both.describe(IMAGES, GenerationSettings()) == local.describe(IMAGES, GenerationSettings())
        end.result(10)
    assert both._engines[0].status.problem == STOPPED


def test_an_engine_counts_as_lost_after_two_late_statuses_in_a_row(
    listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote_engine, "STATUS_MAX_AGE", 0.0)
    engine = RemoteEngine(listener.getsockname())

    def problem(answers: bool) -> str | None:
        monkeypatch.setattr(remote_engine, "STATUS_TIMEOUT", 30.0 if answers else 0.1)
        with ThreadPoolExecutor(1) as pool:
            if answers:
                pool.submit(answer_to, listener, "status", status_of(None))
            found = engine.status.problem
        if not answers:
            listener.accept()[0].close()
        return found

    assert [problem(answers) for answers in (True, False, True, False, False, True)] == [
        None, None, None, None, LOADING, None,
    ]  # fmt: skip


def test_a_busy_engine_s_answer_counts_more_than_that_of_an_ended_one(
    listener: socket.socket, second: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote_engine, "STATUS_MAX_AGE", 60.0)  # their status is requested once

    def busy() -> None:
        answer_to(listener, "status", status_of(None))
        answer_to(listener, "describe", wire.encode_error(errors.TooBusy("too many", retry_after=7)))

    def ended() -> None:
        for _ in ("status", "describe"):
            second.accept()[0].close()

    with ThreadPoolExecutor(2) as pool:
        engines = [pool.submit(busy), pool.submit(ended)]
        with pytest.raises(errors.TooBusy) as refusal:
            EngineClient([listener.getsockname(), second.getsockname()], 30).describe(IMAGES, GenerationSettings())
        for engine in engines:
            engine.result(10)
    assert refusal.value.retry_after == 7
