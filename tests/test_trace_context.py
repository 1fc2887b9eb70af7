import threading

import pytest

from flaskapp import trace_context

TRACE_ID, PARENT_ID = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
TRACEPARENT = f"00-{TRACE_ID}-{PARENT_ID}-01"


@pytest.mark.parametrize("flags", ["00", "01", "02", "03"])
def test_a_header_of_version_00_is_kept(flags: str) -> None:
    assert trace_context.parse(f"00-{TRACE_ID}-{PARENT_ID}-{flags}") == f"00-{TRACE_ID}-{PARENT_ID}-{flags}"


@pytest.mark.parametrize("header", [f"01{TRACEPARENT[2:]}", f"cc{TRACEPARENT[2:]}-", f"fe{TRACEPARENT[2:]}-what-comes"])
def test_a_header_of_a_later_version_is_read_as_version_00(header: str) -> None:
    assert trace_context.parse(header) == TRACEPARENT


def test_undefined_flags_of_version_00_are_cleared() -> None:
    assert trace_context.parse(f"00-{TRACE_ID}-{PARENT_ID}-ff") == f"00-{TRACE_ID}-{PARENT_ID}-03"


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "canary",
        f"ff-{TRACE_ID}-{PARENT_ID}-01",
        f"00-{'0' * 32}-{PARENT_ID}-01",
        f"00-{TRACE_ID}-{'0' * 16}-01",
        f"00-{TRACE_ID.upper()}-{PARENT_ID}-01",
        f"00-{TRACE_ID[1:]}-{PARENT_ID}-01",
        f"00-{TRACE_ID}-{PARENT_ID}",
        f"00-{TRACE_ID}-{PARENT_ID}-1",
        f"00_{TRACE_ID}_{PARENT_ID}_01",
        f"{TRACEPARENT}-",
        f"{TRACEPARENT}-more",
        f"01{TRACEPARENT[2:]}.more",
        f"{TRACEPARENT},{TRACEPARENT}",
        f"{TRACEPARENT}\n",
        f"00-{TRACE_ID[:-1]}\u0666-{PARENT_ID}-01",
    ],
)
def test_an_invalid_header_is_ignored(header: str | None) -> None:
    assert trace_context.parse(header) is None


def test_each_outgoing_request_continues_the_trace_with_its_own_parent_id() -> None:
    with trace_context.within(TRACEPARENT):
        sent = [trace_context.headers()["traceparent"] for _ in range(2)]
        assert trace_context.trace_id() == TRACE_ID
    for header in sent:
        assert trace_context.parse(header) == header
        assert (header[:36], header[52:]) == (TRACEPARENT[:36], "-01")
    assert len({TRACEPARENT, *sent}) == 3


def test_without_a_trace_no_header_is_sent() -> None:
    with trace_context.within(TRACEPARENT), trace_context.within(None):
        assert trace_context.headers() == {}
        assert trace_context.trace_id() is trace_context.current() is None


def test_a_trace_ends_with_its_block_and_is_local_to_its_thread() -> None:
    found: list[str | None] = []
    with trace_context.within(TRACEPARENT):
        thread = threading.Thread(target=lambda: found.append(trace_context.current()))
        thread.start()
        thread.join()
        with trace_context.within(None):
            pass
        assert trace_context.current() == TRACEPARENT
    assert found == [None]
    assert trace_context.current() != TRACEPARENT
