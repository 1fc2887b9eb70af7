"""`gunicorn wsgi:app` with the settings of `gunicorn.conf.py`."""

import json
import runpy
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPResponse
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import urlsplit

import pytest
import requests

from flaskapp.captioner import captioner
from flaskapp.serving import boot_signals
from flaskapp.serving.metrics_files import metrics_files
from tests.conftest import ROOT, Server, assert_error
from tests.serving.servers import WORKERS, post_star, workers_of


def test_there_is_one_worker_for_each_core_up_to_four(server: Server) -> None:
    server.wait_for("Booting worker", times=WORKERS)
    assert len(workers_of(server)) == WORKERS


def test_all_workers_use_one_engine_process(server: Server) -> None:
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(post_star, [server.url] * 16))
    assert [answer.status_code for answer in answers] == [200] * 16
    assert len({answer.text for answer in answers}) == 1
    assert "".join(server.lines).count("Captions come from the model 'embedded'") == 1


def test_the_hooks_connect_the_captioner_and_register_workers_with_the_metrics(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = runpy.run_path(str(ROOT / "gunicorn.conf.py"))
    calls: list[tuple[str, object]] = []
    monkeypatch.setattr(boot_signals, "exit_on_signals", lambda inherited: calls.append(("signals", inherited)))
    monkeypatch.setattr(captioner, "connect", lambda addresses: calls.append(("connect", addresses)))
    monkeypatch.setattr(metrics_files, "use", lambda slot: calls.append(("use", slot)))
    monkeypatch.setattr(metrics_files, "release", lambda slot: calls.append(("release", slot)))
    server = SimpleNamespace(processes=SimpleNamespace(addresses=["/socket"], jobs=None), SIG_QUEUE="queue")
    worker = SimpleNamespace(age=7, alive=True, metrics_slot=2, wsgi=None)
    config["post_fork"](server, worker)
    config["post_worker_init"](worker)
    config["child_exit"](server, worker)
    assert calls == [("signals", "queue"), ("use", 2), ("connect", ["/socket"]), ("release", 2)]


def test_the_access_log_has_the_path_and_never_a_query_string(server: Server) -> None:
    requests.post(server.url + "/login/?username=eve&password=canary-in-the-query", timeout=30)
    line = server.wait_for('"POST /login/ HTTP/1.1" 200')
    assert "canary" not in line
    assert "canary" not in "".join(server.lines)


def test_a_request_refused_by_gunicorn_is_answered_and_logged(server: Server) -> None:
    host, port = urlsplit(server.url).hostname, urlsplit(server.url).port
    with socket.create_connection((host, port), timeout=30) as connection:
        connection.sendall(b"POST /refused HTTP/1.1\r\nHost: x\r\nContent-Length: abc\r\n\r\n")
        answer = HTTPResponse(connection)
        answer.begin()
        body = json.load(answer)
    assert body | {"message": ""} == {"code": 400, "status": "Bad Request", "message": ""}
    assert body["message"].startswith("The request's line or headers are malformed.")
    for name, value in requests.get(server.url, timeout=30).headers.items():
        if name in ("X-Content-Type-Options", "Content-Security-Policy", "Referrer-Policy"):
            assert answer.headers[name] == value
    server.wait_for("/refused")


def test_a_bad_setting_stops_the_start_and_is_named(start_server: Callable[..., Server]) -> None:
    with pytest.raises(AssertionError, match="FLASKAPP_MAX_SIDE must be a whole number"):
        start_server(FLASKAPP_MAX_SIDE="wide")


def test_without_a_model_the_server_runs_and_captions_are_unavailable(
    start_server: Callable[..., Server], tmp_path: Path
) -> None:
    server = start_server("--workers", "1", FLASKAPP_CAPTIONER_MODEL=str(tmp_path / "nothing"))
    assert requests.get(server.url, timeout=30).json()["message"] == "OK"
    assert_error(post_star(server.url), 503)


def test_without_a_setting_or_a_network_the_embedded_model_serves(
    start_server: Callable[..., Server], tmp_path: Path
) -> None:
    server = start_server("--workers", "1", FLASKAPP_CAPTIONER_MODEL="", HF_HOME=str(tmp_path), HF_HUB_OFFLINE="1")
    assert "EMBEDDED" in server.wait_for("EMBEDDED")
    assert post_star(server.url).json()["model"] == "embedded"


def test_no_header_changes_the_scheme_the_script_name_or_the_address(start_server: Callable[..., Server]) -> None:
    server = start_server(command="gunicorn --workers 1 --bind {address}:{port} tests.serving.environ_app:app")
    headers = {"X-Forwarded-Proto": "https", "X-Forwarded-Ssl": "on", "Script-Name": "/a", "X-Forwarded-For": "1.2.3.4"}
    assert requests.get(server.url, headers=headers, timeout=30).text == "http '' 127.0.0.1"
