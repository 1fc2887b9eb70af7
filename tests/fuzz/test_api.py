from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Server
from tests.fuzz import api

EXAMPLES, SEED = 10, 1  # of each operation
REQUESTS = 100

PHASES = "examples,fuzzing,stateful"  # the longer `python -m tests.fuzz.api` adds "coverage", which takes minutes
RUNS = {"open": ({}, None), "with logins": (api.PROTECTED, api.LOGIN)}


@pytest.mark.slow
@pytest.mark.parametrize(("settings", "login"), RUNS.values(), ids=RUNS)
def test_every_generated_request_gets_a_documented_answer(
    start_server: Callable[..., Server],
    tmp_path: Path,
    settings: dict[str, str],
    login: tuple[str, str] | None,
) -> None:
    server = start_server(**api.SETTINGS, **settings)
    report = api.run(server.url, EXAMPLES, SEED, tmp_path, login, PHASES)
    assert not report["failures"]
    assert not report["errors"]
    assert report["exit_code"] == 0
    assert report["operations"]["tested"] == report["operations"]["total"]
    assert report["test_cases"]["generated"] >= REQUESTS
    assert "Traceback" not in "".join(server.lines)
