import os
import subprocess
import sys
from pathlib import Path

import pytest

from flaskapp.serving import leftovers

MAKE = """
import os, sys
from pathlib import Path
from flaskapp.serving import leftovers
leftovers.IN_MEMORY = Path({parent!r})
print(leftovers.make_folder("test"))
"""
FORK = (
    MAKE
    + """
if os.fork() == 0:
    os.close(1)
    sys.stdin.read()
"""
)


def make_elsewhere(parent: Path, program: str) -> tuple[Path, "subprocess.Popen[str]"]:
    """The folder that another process made, long ago."""
    process = subprocess.Popen(
        [sys.executable, "-u", "-c", program.format(parent=str(parent))],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    folder = Path(process.stdout.readline().strip())
    os.utime(folder, (0, 0))
    return folder, process


def test_what_is_left_of_processes_that_are_no_more_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leftovers, "IN_MEMORY", tmp_path)
    left, ended = make_elsewhere(tmp_path, MAKE)
    used, alive = make_elsewhere(tmp_path, FORK)
    (others := tmp_path / "other-1-x").mkdir()
    (young := tmp_path / "test-1-x").mkdir()
    with ended, alive:
        ended.wait(30)
        alive.wait(30)
        new = leftovers.make_folder("test")
        assert set(tmp_path.iterdir()) == {used, others, young, new}, "a process that was forked is there"
        assert not left.exists()


def test_where_memory_has_no_room_for_files_it_is_among_the_temporary_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leftovers, "IN_MEMORY", tmp_path / "nowhere")
    monkeypatch.setattr(leftovers.tempfile, "tempdir", str(tmp_path))
    assert leftovers.make_folder("test").parent == tmp_path
