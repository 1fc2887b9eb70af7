"""The engine process under `gunicorn wsgi:app`: start, replacement and stop."""

import os
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests

from flaskapp.captioner.remote_engine import STATUS_MAX_AGE
from flaskapp.serving import leftovers
from tests.benchmarks.process import process_tree
from tests.conftest import ROOT, Server, skip_unless_ci
from tests.polling import wait_until
from tests.serving.servers import identity, post_star

CHECKPOINT = ROOT / "flaskapp" / "captioner" / "embedded" / "checkpoint"


def processes(server: Server, module: str) -> list[int]:
    """Return the server's processes of a module. Their arguments contain the master's pid."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            arguments = (folder / "cmdline").read_bytes().decode(errors="replace").split("\0")
        except (FileNotFoundError, ProcessLookupError):
            continue
        if module in arguments and any(each.startswith(f"{server.process.pid}-") for each in arguments):
            found.append(int(folder.name))
    return found


def engines(server: Server) -> list[int]:
    return processes(server, "flaskapp.captioner.engine_server")


def hosts(server: Server) -> list[int]:
    return processes(server, "flaskapp.serving.engine_host")


def is_replaced(old: int, found: list[int]) -> bool:
    """Whether a new process runs, and the old one no longer does."""
    return bool(found) and old not in found


def folders(server: Server) -> list[Path]:
    """Return the server's folders of sockets and metrics."""
    places = leftovers.IN_MEMORY, Path(tempfile.gettempdir())
    return [folder for place in places for folder in place.glob(f"flaskapp-*-{server.process.pid}-*")]


def has_model(server: Server) -> bool:
    return bool(requests.get(server.url + "/readyz", timeout=10).json()["model"]["ready"])


def readiness(server: Server) -> int:
    return requests.get(server.url + "/readyz", timeout=10).status_code


@pytest.fixture
def server(start_server: Callable[..., Server]) -> Server:
    server = start_server("--workers", "2")
    wait_until(lambda: readiness(server) == 200)
    return server


@pytest.mark.slow
def test_web_workers_answer_before_there_is_a_model(start_server: Callable[..., Server]) -> None:
    server = start_server("--workers", "1", ready="Booting worker")
    assert requests.get(server.url + "/items/5", timeout=10).status_code == 200
    assert readiness(server) == 503
    assert post_star(server.url).status_code == 200, "an early request waits for the model"
    wait_until(lambda: readiness(server) == 200)


@pytest.mark.slow
def test_only_the_engine_process_imports_torch(server: Server) -> None:
    post_star(server.url)
    master = server.process.pid
    children = Path(f"/proc/{master}/task/{master}/children").read_text().split()
    have_torch = {pid for pid in [str(master), *children] if "libtorch" in Path(f"/proc/{pid}/maps").read_text()}
    assert not have_torch
    (engine,) = engines(server)
    assert "libtorch" in Path(f"/proc/{engine}/maps").read_text()


@pytest.mark.slow
def test_the_engine_process_has_malloc_s_tunables(server: Server) -> None:
    (engine,) = engines(server)
    assert b"GLIBC_TUNABLES=glibc.malloc.hugetlb=1" in Path(f"/proc/{engine}/environ").read_bytes()


@pytest.mark.slow
def test_a_killed_engine_is_replaced_without_delaying_light_requests(server: Server) -> None:
    (engine,) = engines(server)
    slowest, statuses, is_over = [0.0], set(), threading.Event()

    def ask_livez() -> None:
        while not is_over.is_set():
            began = time.monotonic()
            statuses.add(requests.get(server.url + "/livez", timeout=10).status_code)
            slowest.append(time.monotonic() - began)

    with ThreadPoolExecutor(9) as pool:
        asking = pool.submit(ask_livez)
        captions = [pool.submit(post_star, server.url) for _ in range(16)]
        os.kill(engine, signal.SIGKILL)
        wait_until(lambda: readiness(server) == 503, 5)
        answers = [each.result(60) for each in captions]
        wait_until(lambda: readiness(server) == 200)
        is_over.set()
        asking.result(10)
    assert statuses == {200}
    assert {answer.status_code for answer in answers} <= {200, 503}
    assert all("Retry-After" in answer.headers for answer in answers if answer.status_code == 503)
    server.wait_for("The engine process ended (by SIGKILL)")
    assert engines(server) != [engine]
    assert post_star(server.url).status_code == 200


@pytest.mark.slow
def test_a_killed_engine_host_is_replaced_with_its_engine(server: Server) -> None:
    (host,), (engine,) = hosts(server), engines(server)
    os.kill(host, signal.SIGKILL)
    wait_until(lambda: is_replaced(host, hosts(server)))
    wait_until(lambda: is_replaced(engine, engines(server)))
    wait_until(lambda: readiness(server) == 200)
    assert len(engines(server)) == 1
    assert post_star(server.url).status_code == 200


@pytest.mark.slow
def test_a_killed_master_leaves_no_process_and_no_folder(server: Server) -> None:
    os.kill(server.process.pid, signal.SIGKILL)
    wait_until(lambda: not engines(server) and not hosts(server))
    wait_until(lambda: not folders(server))


@pytest.mark.slow
def test_sighup_replaces_the_engine_without_failing_a_request(server: Server) -> None:
    (engine,) = engines(server)
    is_over = threading.Event()

    def keep_asking() -> set[int]:
        statuses = set()
        while not is_over.is_set():
            statuses.add(post_star(server.url).status_code)
        return statuses

    with ThreadPoolExecutor(2) as pool:
        asking = [pool.submit(keep_asking) for _ in range(2)]
        server.process.send_signal(signal.SIGHUP)
        wait_until(lambda: is_replaced(engine, engines(server)))
        is_over.set()
        assert [each.result(60) for each in asking] == [{200}, {200}]
    wait_until(lambda: len(engines(server)) == len(hosts(server)) == 1)


@pytest.mark.slow
def test_sigterm_finishes_requests_in_flight_and_leaves_nothing(server: Server) -> None:
    with ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(post_star, server.url) for _ in range(8)]
        wait_until(lambda: sum(each.done() for each in asked) >= 1)
        assert server.stop() == 0
        assert {each.result(60).status_code for each in asked} == {200}
    assert not engines(server)
    assert not hosts(server)
    assert not folders(server)


@pytest.mark.slow
def test_a_sigterm_to_all_processes_as_by_systemd_loses_no_request(server: Server) -> None:
    with ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(post_star, server.url) for _ in range(8)]
        wait_until(lambda: sum(each.done() for each in asked) >= 1)
        for process in process_tree(server.process.pid):
            os.kill(process, signal.SIGTERM)
        assert server.process.wait(60) == 0
        assert {each.result(60).status_code for each in asked} == {200}
    wait_until(lambda: not engines(server) and not hosts(server) and not folders(server))


@pytest.mark.slow
def test_sighup_keeps_the_old_engine_if_the_new_one_has_no_model(
    start_server: Callable[..., Server], tmp_path: Path
) -> None:
    model = tmp_path / "model"
    shutil.copytree(CHECKPOINT, model)
    server = start_server("--workers", "1", FLASKAPP_CAPTIONER_MODEL=str(model))
    wait_until(lambda: readiness(server) == 200)
    before = engines(server)
    (model / "config.json").unlink()
    server.process.send_signal(signal.SIGHUP)
    server.wait_for("The new engine process has no model: the old one is kept")
    wait_until(lambda: engines(server) == before and len(hosts(server)) == 1)
    assert post_star(server.url).status_code == 200


@pytest.mark.slow
def test_an_engine_that_ends_at_each_start_fails_requests_at_once_and_readyz_says_so(
    start_server: Callable[..., Server], tmp_path: Path
) -> None:
    (tmp_path / "torch.py").write_text("raise ImportError('a library is missing')")
    server = start_server("--workers", "1", ready="starts in 2 seconds", PYTHONPATH=str(tmp_path))
    answer = post_star(server.url)
    assert answer.status_code == 503
    assert "the server's log says why" in answer.json()["message"]
    assert int(answer.headers["Retry-After"]) > 0
    assert "the engine process stopped" in requests.get(server.url + "/readyz", timeout=10).json()["model"]["message"]
    assert requests.get(server.url + "/items/5", timeout=10).status_code == 200


@pytest.mark.slow
def test_one_of_two_engines_serves_while_the_other_is_replaced(start_server: Callable[..., Server]) -> None:
    server = start_server("--workers", "1", FLASKAPP_CAPTIONER_DEVICE="cpu,cpu")
    server.wait_for("The model is ready", times=2)  # both have loaded their models
    killed, _ = engines(server)
    os.kill(killed, signal.SIGKILL)
    server.wait_for("The engine process ended (by SIGKILL)")
    threading.Event().wait(STATUS_MAX_AGE)  # until then the ended engine may be asked
    while server.count("The model is ready") < 3:
        assert readiness(server) == 200
        assert post_star(server.url).status_code == 200
    before = engines(server)
    server.process.send_signal(signal.SIGHUP)
    wait_until(lambda: not {*before} & {*engines(server)} and len(engines(server)) == 2)
    assert post_star(server.url).status_code == 200


@pytest.mark.slow
def test_a_second_server_has_its_own_engine(server: Server, start_server: Callable[..., Server]) -> None:
    other = start_server("--workers", "1")
    wait_until(lambda: readiness(other) == 200)
    other.stop()
    assert len(engines(server)) == 1
    assert post_star(server.url).status_code == 200


@pytest.mark.slow
def test_the_engine_has_no_more_privileges_than_the_web_workers(start_server: Callable[..., Server]) -> None:
    if os.geteuid() != 0:
        skip_unless_ci("only root can run workers as another user")
    server = start_server("--workers", "1", "--user", "65534", "--group", "65534")
    wait_until(lambda: has_model(server))
    (engine,) = engines(server)
    ids = identity(engine)
    assert ids["Uid"] == ids["Gid"] == ["65534"] * 4
    assert ids["Groups"] == []
    assert post_star(server.url).status_code == 200
