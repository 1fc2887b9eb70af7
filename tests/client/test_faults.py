"""The client with faulty servers and proxies."""

import io
import pickle
import socket
import traceback
from concurrent.futures import ThreadPoolExecutor
from typing import BinaryIO, cast

import pytest

from flaskapp.client import Client, ClientError, RequestRefused, ServerUnreachable, TimedOut, TooBusy, UnexpectedAnswer
from tests.client.scripted import DROP, ScriptedServer, answer, busy
from tests.conftest import ASSETS

CAPTIONS = answer(200, {"model": "m", "results": [{"input": "image", "captions": ["a star"]}]})
SAVED = answer(200, "login saved")
PAGE = answer(502, b"<html>Bad Gateway</html>", Content_Type="text/html")
PASSWORD = "canary"
STAR = (ASSETS / "star.png").read_bytes()


@pytest.mark.parametrize("trouble", [busy("0"), busy("soon"), DROP])
def test_a_retried_caption_request_has_the_whole_image(trouble: bytes) -> None:
    with ScriptedServer([trouble, trouble, CAPTIONS]) as server, Client(server.url) as client:
        assert client.caption(STAR, num_beams=2).best == "a star"
    assert len(server.asked) == 3
    assert len({asked.body for asked in server.asked}) == 1
    assert STAR in server.asked[2].body
    assert b'{"num_beams": 2}' in server.asked[2].body


def test_a_busy_server_s_retry_after_is_followed() -> None:
    with ScriptedServer([busy("1"), CAPTIONS]) as server, Client(server.url) as client:
        assert client.caption(STAR).best == "a star"
    assert server.asked[1].at - server.asked[0].at >= 1


def test_the_number_of_retries_is_limited() -> None:
    with ScriptedServer([busy("0")]) as server, Client(server.url, retries=2) as client:
        with pytest.raises(TooBusy, match="503: too many images are waiting") as refused:
            client.caption(STAR)
        assert refused.value.retry_after == 0
    assert len(server.asked) == 3


def test_a_long_retry_after_is_not_waited_for() -> None:
    with ScriptedServer([busy("3600")]) as server, Client(server.url) as client:
        with pytest.raises(TooBusy) as refused:
            client.caption(STAR)
        assert refused.value.retry_after == 3600
    assert len(server.asked) == 1


def test_a_rate_limited_request_is_retried() -> None:
    too_often = answer(429, {"code": 429, "status": "Too Many Requests", "message": "x"}, Retry_After="0")
    email = answer(200, {"is_email": True})
    with ScriptedServer([too_often, email]) as server, Client(server.url) as client:
        assert client.is_email("a@b.cd")
    assert [asked.line for asked in server.asked] == ["GET /text_model/?data=a%40b.cd HTTP/1.1"] * 2


@pytest.mark.parametrize(("trouble", "error"), [(busy("0"), TooBusy), (DROP, ServerUnreachable)])
def test_a_login_is_never_sent_twice(trouble: bytes, error: type[ClientError]) -> None:
    with ScriptedServer([trouble, SAVED]) as server, Client(server.url, retries=5) as client:
        with pytest.raises(error) as refused:
            client.login("ada", PASSWORD)
        assert PASSWORD not in "".join(traceback.format_exception(refused.value))
    assert len(server.asked) == 1


def test_redirects_are_not_followed() -> None:
    with ScriptedServer([SAVED]) as elsewhere:
        moved = answer(307, b"", Location=elsewhere.url, Content_Type="text/plain")
        with ScriptedServer([moved]) as server, Client(server.url) as client:
            with pytest.raises(UnexpectedAnswer, match=f"307 .*, to {elsewhere.url}"):
                client.login("ada", PASSWORD)
            with pytest.raises(UnexpectedAnswer):
                client.caption(STAR)
    assert elsewhere.asked == []


def test_a_request_that_times_out_is_not_retried() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with Client(url, timeout=(5, 0.2)) as client, pytest.raises(TimedOut, match="did not answer in time"):
            client.caption(STAR)
        silent.accept()[0].close()
        silent.setblocking(False)
        with pytest.raises(BlockingIOError):
            silent.accept()


@pytest.mark.parametrize("url", ["http://127.0.0.1:{port}", "http://nowhere.invalid"])
def test_an_unreachable_server_has_a_clear_message(url: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # without listening
        with (
            Client(url.format(port=taken.getsockname()[1]), retries=1) as client,
            pytest.raises(ServerUnreachable) as e,
        ):
            client.status()
    assert "Connection refused" in str(e.value) or "nowhere.invalid cannot be reached" in str(e.value)
    assert "object at" not in str(e.value)


@pytest.mark.parametrize(
    "page",
    [
        PAGE,
        answer(200, b"<html>Welcome</html>", Content_Type="text/html"),
        answer(200, {"hello": "world"}),
        answer(200, ["OK"]),
        answer(200, {"model": "m", "results": []}),
        answer(200, {"model": "m", "results": [{"input": "image", "captions": []}]}),
        answer(404, {"detail": "Not Found"}),
        answer(500, None),
    ],
)
def test_another_server_s_answer_is_recognised(page: bytes) -> None:
    with ScriptedServer([page]) as server, Client(server.url) as client:
        with pytest.raises(UnexpectedAnswer, match="is not one of flaskapp's") as e:
            client.caption(STAR)
        assert f"{e.value.status} Reason" in str(e.value)
        with pytest.raises(UnexpectedAnswer):
            client.resize(STAR)


def test_a_truncated_answer_is_a_client_error() -> None:
    with ScriptedServer([CAPTIONS[:-5]]) as server, Client(server.url) as client, pytest.raises(ServerUnreachable):
        client.caption(STAR)


def test_an_answer_that_stalls_times_out() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor(1) as pool:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        with Client(url, timeout=(5, 0.2)) as client:
            silent = pytest.raises(TimedOut, match="did not answer in time")
            asked = pool.submit(client.status)
            connection, _ = listener.accept()
            with connection, silent:
                connection.sendall(CAPTIONS[:-5])
                asked.result(30)


def test_an_invalid_host_name_is_a_client_error() -> None:
    with Client("http://a..b") as client, pytest.raises(ClientError, match="cannot be asked"):
        client.status()


def test_malformed_errors_are_dropped() -> None:
    odd = answer(422, {"code": 422, "status": "x", "errors": ["no"], "message": "broken"})
    with ScriptedServer([odd]) as server, Client(server.url) as client, pytest.raises(RequestRefused) as refused:
        client.caption(STAR)
    assert (refused.value.errors, str(refused.value)) == ({}, "422: broken")


def test_no_message_contains_the_password() -> None:
    with ScriptedServer([answer(401, {"code": 401, "status": "Unauthorized", "message": "no"})]) as server:
        address = server.url.replace("http://", "http://ada:canary%21@")
        with Client(address, retries=0) as client, pytest.raises(RequestRefused) as refused:
            client.is_email("a")
    with pytest.raises(ServerUnreachable) as gone:
        client.is_email("a")
    texts = [repr(client), *(line for e in (refused, gone) for line in traceback.format_exception(e.value))]
    assert PASSWORD not in "".join(texts)
    assert repr(client) == f"Client({server.url!r}, username='ada')"


def test_a_file_that_shrinks_while_it_is_sent_has_a_clear_message() -> None:
    class Shrinking(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            return super().read(size) if self.tell() == 0 else b""

    shorter = pytest.raises(ClientError, match="image became shorter while it was sent")
    with ScriptedServer([CAPTIONS]) as server, Client(server.url) as client, shorter:
        client.caption(cast(BinaryIO, Shrinking(bytes(2**17))))


def test_a_read_error_is_not_taken_for_a_lost_connection() -> None:
    class Broken(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            raise OSError(5, "Input/output error")

    with ScriptedServer([CAPTIONS]) as server, Client(server.url) as client:
        with pytest.raises(ClientError, match="image cannot be read: Input/output error"):
            client.caption(cast(BinaryIO, Broken(b"x")))
        assert len(server.asked) <= 1


@pytest.mark.parametrize(
    "url", ["localhost:8000", "ftp://localhost", "http://", "", "http://[", "http://ada:canary℀@h"]
)
def test_an_invalid_url_is_refused_by_the_constructor(url: str) -> None:
    with pytest.raises(ValueError, match="such as http://localhost:8000") as e:
        Client(url)
    assert PASSWORD not in "".join(traceback.format_exception(e.value))


def test_errors_can_be_pickled() -> None:
    error = pickle.loads(pickle.dumps(TooBusy(503, "busy", {"a": ["b"]}, 5.0)))
    assert (error.status, error.message, error.errors, error.retry_after) == (503, "busy", {"a": ["b"]}, 5.0)
    assert str(pickle.loads(pickle.dumps(UnexpectedAnswer("odd", 502)))) == "odd"
