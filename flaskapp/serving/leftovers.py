"""Folders that exist as long as a server runs. Removes the folders of servers that were killed."""

import fcntl
import os
import shutil
import tempfile
import time
from contextlib import suppress
from pathlib import Path

IN_MEMORY = Path("/dev/shm")  # writable even if the root file system is read-only
LOCK_DELAY = 2.0  # seconds in which a new folder may not be locked yet

_locks: dict[Path, int] = {}  # open file descriptors, which forked processes inherit


def make_folder(prefix: str) -> Path:
    """Create a folder in memory or for temporary files. It is locked until this process and its forks have ended.

    First removes the folders of servers that have ended. Raises OSError.
    """
    try:
        return _make_in(IN_MEMORY, prefix)
    except OSError:
        return _make_in(Path(tempfile.gettempdir()), prefix)


def leave(folder: Path) -> None:
    """Release this process's lock on the folder. The processes that it has forked keep theirs."""
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
    """Remove an unlocked folder. Process ids do not help: containers may share memory but not process ids."""
    with suppress(OSError):  # locked, removed meanwhile, or of another user
        if time.time() - folder.stat().st_mtime < LOCK_DELAY:
            return
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
        finally:
            os.close(descriptor)
