"""The command that runs a worker."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT, clean_environment


@pytest.mark.slow
def test_a_worker_without_a_model_exits_without_taking_messages(tmp_path: Path) -> None:
    settings = {
        "FLASKAPP_DATABASE_URL": f"sqlite:///{tmp_path / 'jobs.db'}",
        "FLASKAPP_CAPTIONER_MODEL": str(tmp_path / "no model"),
    }
    command = [Path(sys.executable).with_name("celery"), "-A", "flaskapp.jobs", "worker"]
    ended = subprocess.run(
        command, cwd=ROOT, env=clean_environment() | settings, capture_output=True, text=True, timeout=120
    )
    assert ended.returncode == 1
    assert "there is no captioning model" in ended.stderr
    assert not list((tmp_path / "jobs-jobs" / "queue" / "control").iterdir()), "the worker did not connect to the queue"
