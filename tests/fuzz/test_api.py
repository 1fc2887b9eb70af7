from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Server
from tests.fuzz import api

EXAMPLES, SEED = 20, 1  # of each operation; the longer run is `python -m tests.fuzz.api`


# With logins, what each operation covers is not repeated: it takes minutes.
RUNS = {
    "open": ({}, None, "examples,coverage,fuzzing,stateful", 500),
    "with logins": (api.PROTECTED, api.LOGIN, "examples,fuzzing,stateful", 100),
}


@pytest.mark.slow
@pytest.mark.parametrize(("settings", "login", "phases", "requests"), RUNS.values(), ids=RUNS)
def test_every_generated_request_is_answered_as_the_openapi_document_says(
    start_server: Callable[..., Server],
    tmp_path: Path,
    settings: dict[str, str],
    login: tuple[str, str] | None,
    phases: str,
    requests: int,
) -> None:
    server = start_server(**api.SETTINGS, **settings)
    report = api.run(server.url, EXAMPLES, SEED, tmp_path, login, phases)
    assert not report["failures"]
    assert not report["errors"]
    assert report["exit_code"] == 0
    assert report["operations"]["tested"] == report["operations"]["total"]
    assert report["test_cases"]["generated"] >= requests
    assert "Traceback" not in "".join(server.lines)
