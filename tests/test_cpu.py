import os
import subprocess
import sys
from pathlib import Path

import pytest

from flaskapp.cpu import usable_cores


def test_without_a_container_the_affinity_mask_counts(tmp_path: Path) -> None:
    assert usable_cores(tmp_path / "missing") == len(os.sched_getaffinity(0))


@pytest.mark.parametrize(
    ("limit", "cores"),
    [("max 100000", 8), ("100000 100000", 1), ("5000 100000", 1), ("150000 100000", 2), ("900000 100000", 8)],
)
def test_a_container_s_limit_counts_rounded_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str, cores: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    file = tmp_path / "cpu.max"
    file.write_text(limit + "\n")
    assert usable_cores(file) == cores


@pytest.mark.parametrize(("given", "shown"), [({}, "'1000'"), ({"GOMP_SPINCOUNT": "77"}, "'77'")])
def test_threads_that_wait_leave_their_cores_to_others_unless_told_otherwise(given: dict[str, str], shown: str) -> None:
    """libgomp shows what it read when torch was imported."""
    others = {name: value for name, value in os.environ.items() if name != "GOMP_SPINCOUNT"}
    run = subprocess.run(
        [sys.executable, "-c", "import flaskapp.captioner, torch"],
        env={**others, **given, "OMP_DISPLAY_ENV": "verbose"},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert f"GOMP_SPINCOUNT = {shown}" in run.stderr
