from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Server
from tests.fuzz import api

OPERATIONS = 9
REQUESTS = 500


@pytest.mark.slow
def test_every_generated_request_is_answered_as_the_openapi_document_says(
    start_server: Callable[..., Server], tmp_path: Path
) -> None:
    server = start_server(**api.SETTINGS)
    report = api.run(server.url, 20, 1, tmp_path)
    assert not report["failures"]
    assert not report["errors"]
    assert report["exit_code"] == 0
    assert report["operations"]["tested"] == OPERATIONS
    assert report["test_cases"]["generated"] >= REQUESTS
