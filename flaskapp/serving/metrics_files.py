"""The files of the workers' metrics, in one folder. Each worker writes its own, and any worker can add them all up.

The files of a worker are a slot. A new worker takes over the slot of a worker that ended, so that its counts are kept
and the number of files does not grow.
"""

import atexit
import logging
import os
import shutil
from collections.abc import Collection
from contextlib import suppress
from itertools import count
from pathlib import Path

from prometheus_client import multiprocess

from flaskapp import metrics
from flaskapp.serving.leftovers import make_folder

log = logging.getLogger(__name__)

FILE_SIZES = {  # bytes
    "counter": 2**18,
    "histogram": 2**21,
    "gauge_livesum": 2**16,
    "gauge_livemax": 2**16,
    "gauge_livemin": 2**16,
}


class MetricsFiles:
    """The slots of a server. A worker calls only `use`; the process that forks the workers calls the other methods."""

    def __init__(self) -> None:
        self._folder: Path | None = None
        self._is_ours = False
        self._server = 0  # id of the process that forks the workers
        self._owner = (-1, -1)  # user and group of the workers

    def open(self, given: str | None, user: int, group: int) -> None:
        """Use the given folder, or create one for workers of this user and group."""
        self._server = os.getpid()
        self._is_ours = not given
        self._owner = (user, group)
        self._folder = Path(given) if given else _make_folder(self._owner)
        atexit.register(self._close_if_server)  # the start may still fail

    def allocate(self, taken: Collection[int | None]) -> int | None:
        """Return a free slot, and create its files at full size; None if there is not enough memory.

        A file in memory must not grow later: when memory runs out, SIGBUS ends the process that writes to it.
        """
        slot = next(number for number in count() if number not in taken)
        try:
            for kind, size in FILE_SIZES.items():
                if not self._file(kind, slot).exists() or metrics.damage_of(self._file(kind, slot)):
                    _make_file(self._file(kind, slot), size, self._owner)
        except OSError as error:
            log.error("The files of a worker's metrics cannot be created, so /metrics answers 503: %s", error.strerror)
            self._mark(is_partial=True)
            return None
        self._mark(is_partial=None in taken)
        return slot

    def use(self, slot: int | None) -> None:
        """Count in this slot's files from now on. Without a slot, the counts are lost."""
        metrics.share(None if slot is None else self._folder, self._name(slot))

    def arguments(self, slot: int | None) -> list[str]:
        """Return the arguments of `metrics.share` for a process that is not forked."""
        return ["" if slot is None else str(self._folder), self._name(slot)]

    def release(self, slot: int | None) -> None:
        """Release the slot of a worker that ended. Keeps its counters, and removes its gauges of live values."""
        if self._folder is not None:
            multiprocess.mark_process_dead(self._name(slot), str(self._folder))  # type: ignore[no-untyped-call]

    def close(self) -> None:
        """Remove the folder if `open` created it."""
        if self._folder is not None and self._is_ours:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _close_if_server(self) -> None:
        """Close at exit, but not in a forked process."""
        if os.getpid() == self._server:
            self.close()

    def _mark(self, *, is_partial: bool) -> None:
        """Tell all workers whether one of them has no files."""
        if self._folder is not None:
            mark = self._folder / metrics.PARTIAL
            with suppress(OSError):
                mark.touch() if is_partial else mark.unlink(missing_ok=True)

    def _file(self, kind: str, slot: int) -> Path:
        if self._folder is None:
            raise FileNotFoundError(None, "no folder could be made")
        return self._folder / f"{kind}_{self._name(slot)}.db"

    def _name(self, slot: int | None) -> str:
        """Return the process name of a slot's files. It is unique, because another server may use the same folder."""
        return f"{self._server}-{slot}"


def _make_folder(owner: tuple[int, int]) -> Path | None:
    try:
        folder = make_folder("flaskapp-metrics")
        _change_owner(folder, owner)
    except OSError:
        return None
    return folder


def _change_owner(path: Path, owner: tuple[int, int]) -> None:
    if os.geteuid() == 0:
        os.chown(path, *owner)


def _make_file(file: Path, size: int, owner: tuple[int, int]) -> None:
    """Create a file atomically: a process that adds up the files must not read a short one."""
    new = file.with_suffix(".new")
    try:
        with new.open("wb") as stream:
            stream.write(bytes(size))  # a sparse file would reserve no memory
        _change_owner(new, owner)
        new.rename(file)
    finally:
        new.unlink(missing_ok=True)


metrics_files = MetricsFiles()
