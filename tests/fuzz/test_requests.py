from collections.abc import Callable

import pytest
from flask import Flask

from tests.conftest import Server
from tests.fuzz.requests import fuzz_all

EXAMPLES, SEED = 150, 2026  # of each kind; the longer run is `python -m tests.fuzz.requests`


@pytest.mark.slow
def test_odd_requests_get_documented_answers(make_app: Callable[..., Flask], server: Server) -> None:
    outcomes = fuzz_all(make_app(TRUSTED_PROXIES=1).test_client(), server.url, EXAMPLES, SEED)
    for kind in ("form to /cv_model/", "form to /caption/"):
        assert all(outcomes[kind, status] > 0 for status in ("200", "400", "415", "422")), outcomes
    assert all(outcomes["target", status] > 0 for status in ("400", "404")), outcomes
    assert outcomes["X-Forwarded-Prefix", "accepted"] > 0
    assert "Traceback" not in "".join(server.lines)
