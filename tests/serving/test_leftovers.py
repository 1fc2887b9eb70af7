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
    """Create a folder in another process, with an old modification time."""
    process = subprocess.Popen(
        [sys.executable, "-u", "-c", program.format(parent=str(parent))],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    folder = Path(process.stdout.readline().strip())
    os.utime(folder, (0, 0))
    return folder, process


def test_folders_of_ended_processes_are_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leftovers, "IN_MEMORY", tmp_path)
    left, ended = make_elsewhere(tmp_path, MAKE)
    used, alive = make_elsewhere(tmp_path, FORK)
    (others := tmp_path / "other-1-x").mkdir()
    (young := tmp_path / "test-1-x").mkdir()
    with ended, alive:
        ended.wait(30)
        alive.wait(30)
        new = leftovers.make_folder("test")
        assert set(tmp_path.iterdir()) == {used, others, young, new}, "the folder of a running forked process is kept"
        assert not left.exists()


def test_without_a_folder_in_memory_the_temporary_folder_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leftovers, "IN_MEMORY", tmp_path / "nowhere")
    monkeypatch.setattr(leftovers.tempfile, "tempdir", str(tmp_path))
    assert leftovers.make_folder("test").parent == tmp_path
