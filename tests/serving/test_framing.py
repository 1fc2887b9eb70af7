"""Where a request ends, however its bytes come."""

import pytest

from flaskapp.serving.framing import HEAD_LIMIT, Incoming, Refused

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello"
CHUNKED = (
    b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"5\r\nhello\r\n7;name=value\r\n, wor\r\n\r\n0\r\nTrailer: yes\r\n\r\n"
)
MAX_BODY = 100


def head(*lines: str) -> bytes:
    return "\r\n".join(["POST / HTTP/1.1", *lines, "", ""]).encode()


@pytest.mark.parametrize("request_", [GET, POST, CHUNKED], ids=["no body", "length", "chunks"])
def test_a_request_is_complete_with_its_last_byte_and_not_before(request_: bytes) -> None:
    incoming = Incoming(MAX_BODY)
    for index in range(len(request_)):
        assert incoming.end is None
        incoming.feed(request_[index : index + 1])
    assert incoming.end == len(request_)
    assert not incoming.is_cut


@pytest.mark.parametrize("request_", [GET, POST, CHUNKED], ids=["no body", "length", "chunks"])
def test_what_comes_after_a_request_is_the_next_one(request_: bytes) -> None:
    incoming = Incoming(MAX_BODY, request_ + POST[:-1])
    assert incoming.end == len(request_)
    following = incoming.following()
    assert following.end is None
    following.feed(POST[-1:])
    assert (bytes(following.data), following.end) == (POST, len(POST))


def test_a_body_that_is_said_to_be_too_long_is_not_waited_for() -> None:
    incoming = Incoming(MAX_BODY, head("Content-Length: 101"))
    assert incoming.is_cut
    assert incoming.end is not None


def test_chunks_are_cut_once_more_has_come_than_is_allowed() -> None:
    incoming = Incoming(MAX_BODY, head("Transfer-Encoding: chunked") + b"ffff\r\n" + b"x" * MAX_BODY)
    assert not incoming.is_cut
    incoming.feed(b"x")
    assert incoming.is_cut


def test_many_small_chunks_count_together() -> None:
    incoming = Incoming(MAX_BODY, head("Transfer-Encoding: chunked") + b"1\r\nx\r\n" * MAX_BODY)
    assert not incoming.is_cut
    incoming.feed(b"1\r\nx\r\n")
    assert incoming.is_cut


@pytest.mark.parametrize(
    "lines",
    [
        ("Content-Length: 5", "Content-Length: 50"),
        ("Content-Length: 5", "Transfer-Encoding: chunked"),
        ("Transfer-Encoding: identity", "Transfer-Encoding: chunked"),
        ("Content-Length: +5",),
        ("Content-Length: 0000000000000000000027",),
        ("Content-Length : 5", "Content-Length: 50"),
    ],
)
def test_a_request_whose_end_is_in_doubt_is_refused(lines: tuple[str, ...]) -> None:
    with pytest.raises(Refused, match="400"):
        Incoming(MAX_BODY, head(*lines))


def test_chunks_that_are_mostly_not_data_are_refused() -> None:
    start = head("Transfer-Encoding: chunked")
    assert Incoming(HEAD_LIMIT, start + b"1;name=value\r\nx\r\n" * 100).end is None
    with pytest.raises(Refused, match="400"):
        Incoming(HEAD_LIMIT, start + b"1;name=value\r\nx\r\n" * 10_000)


@pytest.mark.parametrize("size", [b"-5", b"x", b"", b"0x5", b"1_0", b"fffffffff"])
def test_a_chunk_whose_size_is_no_number_is_refused(size: bytes) -> None:
    with pytest.raises(Refused, match="400"):
        Incoming(MAX_BODY, head("Transfer-Encoding: chunked") + size + b"\r\n")


def test_a_line_before_a_chunk_does_not_go_on_for_ever() -> None:
    with pytest.raises(Refused, match="400"):
        Incoming(MAX_BODY, head("Transfer-Encoding: chunked") + b"5;" + b"x" * 1000)


def test_trailers_do_not_go_on_for_ever() -> None:
    with pytest.raises(Refused, match="431"):
        Incoming(MAX_BODY, head("Transfer-Encoding: chunked") + b"0\r\n" + b"a: b\r\n" * HEAD_LIMIT)


def test_a_head_does_not_go_on_for_ever() -> None:
    incoming = Incoming(MAX_BODY, b"GET / HTTP/1.1\r\n")
    with pytest.raises(Refused, match="431"):
        incoming.feed(b"a: b\r\n" * HEAD_LIMIT)


def test_names_of_headers_are_read_in_any_case() -> None:
    assert Incoming(MAX_BODY, head("CONTENT-LENGTH: 5", "eXpect: 100-Continue")).end is None
    assert Incoming(MAX_BODY, head("CONTENT-LENGTH: 5", "eXpect: 100-Continue")).expects_continue


def test_only_who_may_expect_a_word_before_the_body_does() -> None:
    assert not Incoming(MAX_BODY, head("Content-Length: 5", "Expect: money")).expects_continue
    assert not Incoming(MAX_BODY, head("Content-Length: 5", "X-Expect: 100-continue")).expects_continue
    old = head("Content-Length: 5", "Expect: 100-continue").replace(b"HTTP/1.1", b"HTTP/1.0")
    assert not Incoming(MAX_BODY, old).expects_continue


@pytest.mark.parametrize(
    ("request_", "may_wait"),
    [
        (GET, False),
        (GET.replace(b"GET", b"HEAD"), False),
        (POST, True),
        (CHUNKED, True),
        (b"POST /login/?username=ada HTTP/1.1\r\nHost: x\r\n\r\n", True),
        (GET.replace(b"Host", b"Authorization: Basic YTpi\r\nHost"), True),
        (GET.replace(b"Host", b"Content-Length: 1\r\nHost") + b"x", True),
        (b"GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n", False),
        (b"GET /items/5?q=a HTTP/1.1\r\nHost: x\r\n\r\n", False),
        (b"GET /caption_jobs/1/results HTTP/1.1\r\nHost: x\r\n\r\n", True),
        (b"GET /redoc HTTP/1.1\r\nHost: x\r\n\r\n", True),
    ],
    ids=[
        "GET",
        "HEAD",
        "a body",
        "chunks",
        "a login without a body",
        "credentials",
        "a GET with a body",
        "a probe",
        "an item",
        "a job",
        "a large file",
    ],
)
def test_all_may_wait_but_those_who_read_what_is_at_hand(request_: bytes, may_wait: bool) -> None:
    assert Incoming(MAX_BODY, request_).may_wait == may_wait
