"""The client of the engine process, over a real Unix socket."""

import math
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from flaskapp import errors
from flaskapp.captioner import Captioner, Configuration, GenerationSettings, wire
from flaskapp.captioner.engine_client import EngineClient
from flaskapp.captioner.engine_server import EngineServer, status
from flaskapp.captioner.generation import Generation
from flaskapp.captioner.loader import LOADING
from flaskapp.errors import (
    ClientLeft,
    DeadlineExceeded,
    EngineLost,
    InvalidGeneration,
    ModelUnavailable,
    UnreadableImage,
)
from flaskapp.sized_iterable import SizedIterable
from flaskapp.timings import Timings
from tests.polling import wait_until

IMAGES = [np.full((64, 64 + 8 * number, 3), 40 * number, np.uint8) for number in range(3)]
NARROW = np.zeros((1, 500, 3), np.uint8)


@pytest.fixture(scope="module")
def local() -> Iterator[Captioner]:
    captioner = Captioner()
    captioner.configure(Configuration(model="embedded"))
    captioner.load()
    captioner.warm_up()
    yield captioner
    captioner.close()


@contextmanager
def listening(path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        yield listener


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[socket.socket]:
    with listening(tmp_path / "engine") as listener:
        yield listener


@pytest.fixture
def client(local: Captioner, listener: socket.socket) -> Iterator[EngineClient]:
    server = EngineServer(listener, local)
    thread = threading.Thread(target=server.serve_forever, args=[0.01])
    thread.start()
    yield EngineClient([listener.getsockname()], 30)
    server.shutdown()
    thread.join()


def test_a_client_that_disconnects_during_a_stream_is_noticed_at_the_next_word(client: EngineClient) -> None:
    """The connection is also checked while words arrive at every step."""
    streamed: list[str] = []
    with pytest.raises(ClientLeft):
        client.describe(IMAGES[:1], GenerationSettings(num_beams=1), lambda: bool(streamed), on_text=streamed.append)
    assert len(streamed) == 1


@pytest.mark.parametrize("of", ["local", "client"])
def test_words_are_streamed_unless_beam_search_may_change_them(request: pytest.FixtureRequest, of: str) -> None:
    captioner = request.getfixturevalue(of)
    streamed: list[str] = []
    ((caption,),) = captioner.describe(IMAGES[:1], GenerationSettings(num_beams=1), on_text=streamed.append)
    assert len(streamed) > 2
    assert all(caption.text.startswith(text) for text in streamed), streamed
    assert sorted(streamed, key=len) == streamed
    streamed.clear()
    ((searched,),) = captioner.describe(IMAGES[:1], GenerationSettings(num_beams=4), on_text=streamed.append)
    assert searched.text
    assert streamed == [], "a beam search may change its words until its end"


@pytest.mark.parametrize("settings", [GenerationSettings(), GenerationSettings(num_return_sequences=2, scores=True)])
def test_captions_equal_those_of_the_local_captioner(
    client: EngineClient, local: Captioner, settings: GenerationSettings
) -> None:
    assert client.describe(IMAGES, settings) == local.describe(IMAGES, settings)
    assert client.caption(IMAGES, settings) == local.caption(IMAGES, settings)
    assert client.describe([], settings) == []
    assert client.resolve(settings) == local.resolve(settings)


def test_captions_without_a_deadline_equal_those_of_the_local_captioner(client: EngineClient, local: Captioner) -> None:
    assert client.caption(IMAGES, GenerationSettings(), deadline=math.inf) == local.caption(
        IMAGES, GenerationSettings()
    )


def test_the_status_equals_the_local_captioner_s(client: EngineClient, local: Captioner) -> None:
    names = (
        "problem", "name", "version", "note", "input_side", "decoder", "decoder_reason", "takes_prompt", "defaults",
        "precision", "precision_reason",
    )  # fmt: skip
    for name in names:
        assert getattr(client, name) == getattr(local, name), name
    assert isinstance(client.defaults, Generation)


def test_the_timings_are_transferred(client: EngineClient) -> None:
    timings = Timings()
    client.describe(IMAGES, GenerationSettings(), timings=timings)
    assert {"decode", "queue", "model"} <= timings.seconds.keys()
    assert timings.batch_size in range(1, len(IMAGES) + 1)


def test_a_setting_unsupported_by_the_model_is_named(client: EngineClient) -> None:
    with pytest.raises(InvalidGeneration, match="takes no text") as caught:
        client.describe(IMAGES, GenerationSettings(prompt="a"))
    assert caught.value.field == "prompt"


@pytest.mark.parametrize("images", [[NARROW], [IMAGES[0], NARROW], [NARROW, *IMAGES]])
def test_a_too_narrow_image_is_refused(client: EngineClient, images: list[np.ndarray]) -> None:
    with pytest.raises(UnreadableImage, match="as long as it is wide"):
        client.describe(images, GenerationSettings())


def test_a_decoding_error_leaves_no_waiting_request(client: EngineClient, local: Captioner) -> None:
    def decode() -> Iterator[np.ndarray]:
        yield IMAGES[0]
        raise UnreadableImage("it is broken")

    with pytest.raises(UnreadableImage, match="broken"):
        client.describe(SizedIterable(2, decode), GenerationSettings())
    batcher = local._ready(60).batcher
    wait_until(lambda: not batcher._expected and not batcher._waiting)
    assert client.caption(IMAGES, GenerationSettings())


def test_no_image_of_a_refused_request_is_decoded(client: EngineClient) -> None:
    asked: list[str] = []

    def decode() -> Iterator[np.ndarray]:
        asked.append("asked")
        yield IMAGES[0]

    with pytest.raises(InvalidGeneration):
        client.describe(SizedIterable(1, decode), GenerationSettings(prompt="a"))
    assert not asked


@pytest.mark.parametrize(
    "error",
    [
        errors.TooBusy("too many", retry_after=7),
        errors.ModelUnavailable("the hub is away", 12.5),
        errors.CaptionFailed("the model failed"),
        errors.InvalidGeneration("num_beams", "Not so many."),
        errors.DeadlineExceeded("too late"),
    ],
)
def test_an_error_is_transferred_with_its_attributes(error: errors.FlaskappError) -> None:
    again = wire.decode_error(wire.encode_error(error))
    assert type(again) is type(error)
    assert str(again) == str(error)
    assert again.retry_after == error.retry_after
    assert getattr(again, "field", None) == getattr(error, "field", None)


def test_an_unknown_error_is_transferred_without_its_message() -> None:
    error = wire.decode_error({"error": "math", "message": "secret"})
    assert isinstance(error, errors.CaptionerUnavailable)
    assert "secret" not in str(error)


def test_without_an_engine_process_the_model_is_not_ready(tmp_path: Path) -> None:
    client = EngineClient([str(tmp_path / "missing")], 1)
    assert client.problem == LOADING
    with pytest.raises(ModelUnavailable) as caught:
        client.describe(IMAGES, GenerationSettings())
    assert caught.value.retry_after == 5


def test_while_the_engine_does_not_answer_the_model_is_not_ready(listener: socket.socket) -> None:
    assert EngineClient([listener.getsockname()], 1).problem == LOADING


def test_a_worker_s_first_requests_wait_for_the_status(listener: socket.socket, local: Captioner) -> None:
    """None may be told that the model is loading while the first one asks the engine, which has a model."""
    client = EngineClient([listener.getsockname()], 30)
    with ThreadPoolExecutor(4) as pool:
        first = pool.submit(lambda: client.problem)
        connection, _ = listener.accept()
        others = [pool.submit(lambda: client.problem) for _ in range(3)]
        with connection:
            wire.receive(connection)
            wire.send(connection, status(local))
        assert [problem.result(10) for problem in (first, *others)] == [None] * 4


def test_an_engine_that_ends_during_a_request_fails_it_at_once(listener: socket.socket) -> None:
    client = EngineClient([listener.getsockname()], 30)
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(client.describe, IMAGES, GenerationSettings())
        connection, _ = listener.accept()
        assert wire.receive(connection)[0]["do"] == "describe"
        wire.send(connection, {"go": True})
        connection.close()
        with pytest.raises(EngineLost):
            answer.result(10)


def test_a_request_that_no_engine_admitted_is_not_blamed_for_the_engine_s_end(listener: socket.socket) -> None:
    client = EngineClient([listener.getsockname()], 30)
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(client.describe, IMAGES, GenerationSettings())
        listener.accept()[0].close()
        with pytest.raises(ModelUnavailable, match="stopped"):
            answer.result(10)


def test_a_request_to_an_engine_that_does_not_answer_fails_after_the_deadline(
    listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flaskapp.captioner.engine_client.GRACE", 0.1)
    with pytest.raises(DeadlineExceeded):
        EngineClient([listener.getsockname()], 0.2).describe(IMAGES, GenerationSettings())


def test_the_connection_of_a_disconnected_client_s_request_is_closed(
    listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flaskapp.captioner.remote_engine.POLL_INTERVAL", 0.05)
    client = EngineClient([listener.getsockname()], 30)
    with pytest.raises(ClientLeft):
        client.describe(IMAGES, GenerationSettings(), lambda: True)
    connection, _ = listener.accept()
    with connection:
        wire.receive(connection)
        assert connection.recv(1) == b""


@pytest.mark.parametrize(
    "sent", [b"", b"\0", wire.HEADER.pack(1 << 30, 0), wire.HEADER.pack(2, 0) + b"{}", b"\xff" * 99]
)
def test_an_invalid_message_does_not_stop_the_engine_server(
    client: EngineClient, listener: socket.socket, sent: bytes
) -> None:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(listener.getsockname())
        connection.sendall(sent)
    assert client.caption(IMAGES, GenerationSettings())
