"""LOG_FORMAT=json: every line of a server's log is a JSON object."""

import json
import logging
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests

from flaskapp.serving.json_log import JSONFormatter
from tests.conftest import Server
from tests.jobs.cluster import scene, submit
from tests.serving.connections import connected, head, read_all, read_one, statuses
from tests.serving.servers import post_star
from tests.test_trace_context import TRACE_ID, TRACEPARENT

JSON = {"FLASKAPP_LOG_FORMAT": "json"}


def entries(server: Server) -> list[dict[str, Any]]:
    """Parse every line of the log; each must be a JSON object."""
    return [json.loads(line) for line in server.lines]


def entries_after_stop(server: Server) -> list[dict[str, Any]]:
    server.stop()
    server.close()
    return entries(server)


def test_each_request_is_one_line_and_every_line_is_json(start_server: Callable[..., Server]) -> None:
    server = start_server("--workers", "1", **JSON)
    server.wait_for("The model is ready")  # otherwise the caption could share the warm-up's batch
    secret = {"q": "canary"}
    named = {"X-Request-ID": "abc-123", "User-Agent": 'a "quoted" agent', "traceparent": TRACEPARENT}
    requests.get(server.url + "/items/5", params=secret, headers=named, timeout=30)
    assert post_star(server.url).status_code == 200
    address = urlsplit(server.url)
    for refused in (
        b"POST /refused?canary HTTP/1.1\r\nContent-Length: abc\r\n\r\n",
        b"GET /a?b canary HTTP/1.1\r\n\r\n",
    ):
        with socket.create_connection((address.hostname, address.port), timeout=30) as client:
            client.sendall(refused)
            answer = b"".join(iter(lambda: client.recv(2**16), b""))
            assert answer.startswith(b"HTTP/1.1 400 ")
            assert b"\r\nX-Request-ID: " in answer
    lines = entries_after_stop(server)
    assert "canary" not in "".join(server.lines)
    item, caption = (line for line in lines if line["logger"] == "gunicorn.access")
    assert item["time"].endswith("+00:00")
    assert item["duration_ms"] >= 0
    assert item["bytes"] == len('{"item_id":5,"q":"canary"}\n')
    expected = {
        "method": "GET", "path": "/items/5", "status": 200, "client": "127.0.0.1",
        "user_agent": 'a "quoted" agent', "request_id": "abc-123", "trace_id": TRACE_ID,
    }  # fmt: skip
    assert expected.items() <= item.items()
    assert "batch_size" not in item
    assert "trace_id" not in caption
    assert (caption["path"], caption["status"], caption["batch_size"]) == ("/caption/", 200, 1)
    assert caption["queue_ms"] >= 0
    assert caption["model_ms"] > 0
    assert any("/refused" in line.get("message", "") for line in lines)


def test_every_line_is_json_after_a_job(start_server: Callable[..., Server]) -> None:
    server = start_server("--workers", "1", **JSON)
    submit(server.url, [scene(0)[0]])
    server.wait_for("Chunk 0 of job")
    assert any("The worker of caption jobs started" in line.get("message", "") for line in entries_after_stop(server))


def test_a_refused_request_does_not_have_the_previous_request_s_trace(start_server: Callable[..., Server]) -> None:
    server = start_server("--workers", "1", **JSON)
    with connected(server) as client:
        client.sendall(head("GET /items/5", f"traceparent: {TRACEPARENT}"))
        assert statuses(read_one(client)) == [200]
        client.sendall(b"GET /refused here HTTP/1.1\r\n\r\n")
        assert statuses(read_all(client)) == [400]
    server.wait_for("refused with 400")
    answered, refused = (line for line in entries(server) if "/items/5" in str(line) or "refused with" in str(line))
    assert answered["trace_id"] == TRACE_ID
    assert "trace_id" not in refused


def test_an_unloadable_model_is_one_line_with_the_reason(start_server: Callable[..., Server], tmp_path: Path) -> None:
    model = str(tmp_path / "nothing")
    server = start_server("--workers", "1", FLASKAPP_CAPTIONER_MODEL=model, **JSON)
    server.wait_for("FLASKAPP_CAPTIONER_MODEL is not a folder")
    assert requests.get(server.url + "/readyz", timeout=30).status_code == 503
    (failure,) = (line for line in entries_after_stop(server) if line["logger"] == "flaskapp.captioner.loader")
    assert failure["level"] == "ERROR"
    assert "FLASKAPP_CAPTIONER_MODEL is not a folder" in failure["message"]
    assert "traceback" not in failure


def test_a_failed_start_is_a_json_line(start_server: Callable[..., Server]) -> None:
    with pytest.raises(AssertionError, match="FLASKAPP_MAX_SIDE must be a whole number") as caught:
        start_server(FLASKAPP_MAX_SIDE="wide", **JSON)
    log = str(caught.value).partition("is not in the log:\n")[2].partition("\nassert")[0]
    lines = [json.loads(line) for line in log.splitlines() if line.strip()]
    assert lines[-1]["message"].startswith("FLASKAPP_MAX_SIDE must be")
    assert "traceback" not in lines[-1]


def test_a_custom_access_log_format_takes_precedence(start_server: Callable[..., Server]) -> None:
    server = start_server("--workers", "1", "--access-logformat", '{"mine":"%(U)s","id":"%({x-request-id}o)s"}', **JSON)
    server.wait_for("The model is ready")
    requests.get(server.url + "/items/5", headers={"X-Request-ID": "abc"}, timeout=30)
    assert {"mine": "/items/5", "id": "abc"} in entries_after_stop(server)


def test_any_record_is_one_line() -> None:
    try:
        raise ValueError("two\nlines")
    except ValueError:
        record = logging.LogRecord("a.name", logging.ERROR, "", 0, "%s\n%s", ("ü", "\x1b[31m"), sys.exc_info())
    line = JSONFormatter().format(record)
    assert "\n" not in line
    assert line.isascii()
    entry = json.loads(line)
    assert (entry["level"], entry["logger"], entry["message"]) == ("ERROR", "a.name", "ü\n\x1b[31m")
    assert "ValueError: two\nlines" in entry["traceback"]
