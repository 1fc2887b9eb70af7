"""Metrics of several processes in one folder, with a running server and with a full disk."""

import os
import re
import resource
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import requests
from prometheus_client.parser import text_string_to_metric_families

from flaskapp import metrics
from flaskapp.serving import leftovers
from flaskapp.serving.metrics_files import FILE_SIZES, MetricsFiles
from tests.conftest import ASSETS, Server, skip_unless_ci
from tests.serving.servers import workers_of


def total(server: Server, name: str, **labels: str) -> float:
    """Return the sum of a metric's samples with these labels."""
    text = requests.get(server.url + "/metrics", timeout=30).text
    return sum(
        sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == f"flaskapp_{name}" and labels.items() <= sample.labels.items()
    )


def items(server: Server) -> float:
    return total(server, "http_requests_total", route="/items/<item_id>")


def test_the_files_belong_to_the_user_of_the_workers() -> None:
    if os.geteuid() != 0:
        skip_unless_ci("only root can give files away")
    files = MetricsFiles()
    files.open(None, 65534, 65534)
    try:
        slot = files.allocate([])
        assert files._folder is not None
        for path in (files._folder, *(files._file(kind, slot or 0) for kind in FILE_SIZES)):
            assert (path.stat().st_uid, path.stat().st_gid) == (65534, 65534)
    finally:
        files.close()


def test_a_corrupt_file_of_an_earlier_server_is_replaced(tmp_path: Path) -> None:
    files = MetricsFiles()
    files.open(str(tmp_path), os.getuid(), os.getgid())
    slot = files.allocate([])
    assert slot is not None
    files._file("counter", slot).write_bytes(b"torn")
    assert files.allocate([]) == slot
    assert metrics.damage_of(files._file("counter", slot)) is None


def ask(server: Server, times: int) -> None:
    for _ in range(times):
        assert requests.get(server.url + "/items/5", timeout=30).status_code == 200


@pytest.fixture(scope="module")
def server(start_server: Callable[..., Server]) -> Server:
    """Return a server with two workers, both booted."""
    server = start_server("--workers", "2")
    server.wait_for("Booting worker", times=2)
    return server


def test_refusals_by_the_worker_itself_are_counted(server: Server) -> None:
    assert requests.get(server.url + "/query_items", params={"item_id": "5" * 5000}, timeout=30).status_code == 414
    assert total(server, "http_refusals_total", status="414") == 1


def test_a_decoder_is_shown_once_for_all_workers(server: Server) -> None:
    with (ASSETS / "star.png").open("rb") as file:
        assert requests.post(server.url + "/caption/", files={"data": file}, timeout=60).status_code == 200
    assert total(server, "captioner_decoder", model="embedded", decoder="fast") == 1
    assert total(server, "captioner_decoder") == 1


def test_every_worker_shows_the_counts_of_all_including_ended_ones(server: Server) -> None:
    """The last test of this server, because it ends all its workers."""
    ask(server, 40)
    assert {items(server) for _ in range(10)} == {40}
    os.kill(workers_of(server)[0], signal.SIGKILL)
    server.wait_for("Booting worker", times=3)
    ask(server, 10)
    assert {items(server) for _ in range(10)} == {50}
    before = set(workers_of(server))
    server.process.send_signal(signal.SIGHUP)
    server.wait_for("Booting worker", times=5)
    while before & set(workers_of(server)):
        ask(server, 1)
    after = items(server)
    assert after >= 50
    ask(server, 10)
    assert {items(server) for _ in range(10)} == {after + 10}


def folders_of(server: Server) -> list[Path]:
    return list(leftovers.IN_MEMORY.glob(f"flaskapp-metrics-{server.process.pid}-*"))


def test_the_folder_is_removed_with_the_server(start_server: Callable[..., Server]) -> None:
    server = start_server("--workers", "1")
    assert len(folders_of(server)) == 1
    assert server.stop() == 0
    assert not folders_of(server)


def test_the_next_start_removes_the_folder_of_a_killed_server(start_server: Callable[..., Server]) -> None:
    killed = start_server("--workers", "1")
    (folder,) = folders_of(killed)
    children = subprocess.run(["ps", "-o", "pid=", "--ppid", str(killed.process.pid)], capture_output=True, text=True)
    for pid in (killed.process.pid, *map(int, children.stdout.split())):
        os.kill(pid, signal.SIGKILL)
    killed.process.wait(30)
    assert folder.exists(), "no process was left to remove it"
    os.utime(folder, (0, 0))
    other = start_server("--workers", "1")
    assert not folder.exists()
    assert folders_of(other)


def test_a_configured_folder_is_used_and_kept(start_server: Callable[..., Server], tmp_path: Path) -> None:
    server = start_server("--workers", "1", PROMETHEUS_MULTIPROC_DIR=str(tmp_path))
    ask(server, 3)
    assert items(server) == 3
    assert server.stop() == 0
    assert any(tmp_path.glob("histogram_*.db"))


@pytest.fixture
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Restore the global state that a worker process changes permanently."""
    monkeypatch.setattr(metrics, "current", metrics.current)
    monkeypatch.setattr(metrics.values, "ValueClass", metrics.values.ValueClass)
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", "")


@pytest.mark.usefixtures("in_this_process")
def test_the_maximum_number_of_series_fits_into_the_preallocated_files(tmp_path: Path) -> None:
    files = MetricsFiles()
    files.open(str(tmp_path), os.getuid(), os.getgid())
    files.use(files.allocate([]))
    longest = "/restric_items/<item_id>/of_a_rule_that_is_longer_than_any"
    for number in range(metrics.MAX_SERIES + 100):
        metrics.current.count_request("OPTIONS", f"{longest}/{number:03}", 503, 0.1)
    for status in range(100):
        metrics.current.count_request("OPTIONS", longest, 500 + status, 0.1)
    for decoder in ("fast", "generate"):
        metrics.current.set_decoder("an-organisation/" + "a-model-with-a-long-name" * 4, decoder)
    sizes = {path.name.rpartition("_")[0]: path.stat().st_size for path in tmp_path.iterdir()}
    assert sizes == FILE_SIZES, "a growing file would kill the worker on a full disk"


@pytest.mark.usefixtures("in_this_process")
def test_a_new_worker_reuses_the_files_of_an_ended_one(tmp_path: Path) -> None:
    files = MetricsFiles()
    files.open(str(tmp_path), os.getuid(), os.getgid())
    assert [files.allocate([]), files.allocate([0, None]), files.allocate([0, 2])] == [0, 1, 1]
    for _ in range(2):
        files.use(files.allocate([1]))
        metrics.current.count_request("GET", "/", 200, 0.1)
        metrics.current.set_waiting(5, time.perf_counter() - 60)
        files.release(0)
    text = metrics.current.render().decode()
    assert 'flaskapp_http_requests_total{method="GET",route="/",status="200"} 2.0' in text
    assert "flaskapp_captioner_waiting_images 5.0" not in text
    assert "flaskapp_captioner_oldest_waiting_seconds" not in text


@pytest.mark.usefixtures("in_this_process")
def test_the_oldest_wait_is_the_maximum_of_all_processes(tmp_path: Path) -> None:
    files = MetricsFiles()
    files.open(str(tmp_path), os.getuid(), os.getgid())
    for slot, since in enumerate((None, time.perf_counter() - 60, time.perf_counter() - 5, None)):
        files.use(files.allocate(range(slot)))
        metrics.current.set_waiting(1, since)
    (age,) = re.findall(r"^flaskapp_captioner_oldest_waiting_seconds (.+)$", metrics.current.render().decode(), re.M)
    assert 60 <= float(age) < 90


@pytest.mark.usefixtures("in_this_process")
def test_if_one_worker_s_files_do_not_fit_metrics_are_unavailable_with_a_logged_reason(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    files = MetricsFiles()
    files.open(str(tmp_path), os.getuid(), os.getgid())
    assert files.allocate([]) == 0
    unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, unlimited[1]))
    try:
        assert files.allocate([0]) is None
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)
    assert "File too large" in caplog.text
    for slot in (None, 0):
        files.use(slot)
        metrics.current.count_request("GET", "/", 200, 0.1)
        with pytest.raises(metrics.MetricsUnavailable):
            metrics.current.render()
    assert files.allocate([0]) == 1, "the disk has space again"
    assert b"flaskapp_http_requests_total" in metrics.current.render()


def test_a_failed_start_leaves_no_folder(start_server: Callable[..., Server]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        server = start_server("--bind", f"127.0.0.1:{port}", ready="Connection in use")
        server.process.wait(60)
    assert not folders_of(server)
