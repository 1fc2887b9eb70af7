"""Folders that a server has for as long as it runs, and what is left of servers that were killed."""

import fcntl
import os
import shutil
import tempfile
import time
from contextlib import suppress
from pathlib import Path

IN_MEMORY = Path("/dev/shm")  # there also where the file system is read-only
YOUNG = 2.0  # seconds in which a new folder may not have its lock yet

_locks: dict[Path, int] = {}  # file descriptors, open as long as this process and those that it forks


def make_folder(prefix: str) -> Path:
    """A new folder in memory or among the temporary files, which is locked as long as this process or a fork lives.

    Those of servers that are no more are removed before. Raises OSError where none can be made.
    """
    try:
        return _make_in(IN_MEMORY, prefix)
    except OSError:
        return _make_in(Path(tempfile.gettempdir()), prefix)


def leave(folder: Path) -> None:
    """It is no longer this process's: the processes that it has forked so far may still use it."""
    os.close(_locks.pop(folder))


def _make_in(parent: Path, prefix: str) -> Path:
    for folder in parent.glob(f"{prefix}-*"):
        _remove_if_left(folder)
    folder = Path(tempfile.mkdtemp(prefix=f"{prefix}-{os.getpid()}-", dir=parent))
    descriptor = os.open(folder, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    _locks[folder] = descriptor
    return folder


def _remove_if_left(folder: Path) -> None:
    """A process id would not tell: containers may share the memory and not their processes."""
    with suppress(OSError):  # it is locked, gone, or another user's
        if time.time() - folder.stat().st_mtime < YOUNG:
            return
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
        finally:
            os.close(descriptor)
