"""Probes are answered while many requests of a worker wait for captions."""

from collections.abc import Callable

import pytest
import requests

from tests.conftest import Server
from tests.serving.test_faults import in_flight

PROBES = ("/livez", "/readyz", "/metrics")


@pytest.mark.parametrize(
    ("worker", "captions"),
    [((), 200), (("--worker-class", "gthread", "--threads", "32"), 20)],
    ids=["gevent", "gthread"],
)
def test_probes_are_answered_while_many_requests_wait_for_captions(
    start_server: Callable[..., Server], worker: tuple[str, ...], captions: int
) -> None:
    patient = {"FLASKAPP_CAPTIONER_QUEUE": "1000", "FLASKAPP_CAPTIONER_DEADLINE": "600"}
    server = start_server("--workers", "1", *worker, "--graceful-timeout", "1", **patient)
    server.wait_for("The model is ready")
    with in_flight(server, captions):
        for path in PROBES * 3:
            answer = requests.get(server.url + path, timeout=5)
            assert answer.status_code == 200, answer.text
        assert "".join(server.lines).count('"POST /caption/ HTTP/1.1" 200') < captions, "some captions still wait"
