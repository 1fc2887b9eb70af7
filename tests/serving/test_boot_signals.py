"""Stop signals for web workers that still boot."""

import os
import signal
from collections.abc import Callable

import pytest

from tests.conftest import Server, skip_unless_ci
from tests.serving.servers import workers_of

TIMEOUT = 15  # seconds; half of gunicorn's graceful_timeout
STUCK = "gunicorn --bind {address}:{port} --workers 1 --user 65534 --group 65534 tests.serving.stuck_app:app"
IMPORTING = "The application is being imported"
STOPS = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)


@pytest.fixture
def start_stuck(start_server: Callable[..., Server]) -> Callable[[], Server]:
    """Return a function that starts a server whose worker never ends the import of the application, as root."""
    if os.geteuid() != 0:
        skip_unless_ci("only root imports the application before gunicorn handles signals")
    return lambda: start_server(command=STUCK, ready=IMPORTING)


def assert_clean(server: Server) -> None:
    server.close()
    log = "".join(server.lines)
    assert "Traceback" not in log
    assert "failed to boot" not in log


@pytest.mark.parametrize("stop", STOPS, ids=lambda stop: stop.name)
def test_a_server_with_a_booting_worker_stops_at_once(start_stuck: Callable[[], Server], stop: signal.Signals) -> None:
    server = start_stuck()
    server.process.send_signal(stop)
    assert server.process.wait(TIMEOUT) == 0
    assert_clean(server)


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGABRT], ids=lambda stop: stop.name)
def test_a_booting_worker_that_is_stopped_is_replaced(start_stuck: Callable[[], Server], stop: signal.Signals) -> None:
    server = start_stuck()
    os.kill(workers_of(server)[0], stop)
    server.wait_for(IMPORTING, times=2)
    server.process.terminate()
    assert server.process.wait(TIMEOUT) == 0
    assert_clean(server)


def test_a_server_that_is_stopped_at_its_start_does_not_wait_for_its_workers(
    start_server: Callable[..., Server],
) -> None:
    server = start_server("--workers", "2", ready="Booting worker")
    server.process.terminate()
    assert server.process.wait(TIMEOUT) == 0
    assert_clean(server)


def test_a_server_that_is_stopped_while_it_adds_a_worker_does_not_wait_for_it(
    start_server: Callable[..., Server],
) -> None:
    server = start_server("--workers", "1")
    server.process.send_signal(signal.SIGTTIN)
    server.wait_for("Booting worker", times=2)
    server.process.terminate()
    assert server.process.wait(TIMEOUT) == 0
    assert_clean(server)
