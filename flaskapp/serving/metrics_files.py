"""Where the workers' metrics lie: each has files of its own, in one folder, that any of them can add up.

A worker that follows one that ended takes over its files: what was counted stays, and their number does not grow.
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

ROOM = {  # bytes
    "counter": 2**18,
    "histogram": 2**21,
    "gauge_livesum": 2**16,
    "gauge_livemax": 2**16,
    "gauge_livemin": 2**16,
}


class MetricsFiles:
    """`open`, `make_room`, `leave` and `close` are for the process that forks the workers, `enter` for a worker."""

    def __init__(self) -> None:
        self._folder: Path | None = None
        self._is_ours = False
        self._server = 0  # the process that forks the workers
        self._owner = (-1, -1)  # user and group of the workers

    def open(self, given: str | None, user: int, group: int) -> None:
        """Use the given folder, or make one that workers of this user and group can read."""
        self._server = os.getpid()
        self._is_ours = not given
        self._owner = (user, group)
        self._folder = Path(given) if given else _make_folder(self._owner)
        atexit.register(self._close_if_server)  # a start may fail after this

    def make_room(self, taken: Collection[int | None]) -> int | None:
        """Find a place for a new worker's files, and all the memory that they may need: without it they are no use.

        Where memory runs out, SIGBUS ends the process that writes to a file in memory.
        """
        place = next(number for number in count() if number not in taken)
        try:
            for kind, size in ROOM.items():
                if not self._file(kind, place).exists() or metrics.damage_of(self._file(kind, place)):
                    _make_file(self._file(kind, place), size, self._owner)
        except OSError as error:
            log.error("There is no room for a worker's metrics, so that /metrics answers 503: %s", error.strerror)
            self._mark(is_partial=True)
            return None
        self._mark(is_partial=None in taken)
        return place

    def enter(self, place: int | None) -> None:
        """Begin to count, in this place's files; without one, the counts are lost."""
        metrics.share(None if place is None else self._folder, self._name(place))

    def arguments(self, place: int | None) -> list[str]:
        """What a process that is not forked needs to `enter` this place: the arguments of `metrics.share`."""
        return ["" if place is None else str(self._folder), self._name(place)]

    def leave(self, place: int | None) -> None:
        """The worker at this place ended: what it counted stays, what it had in hand is no more."""
        if self._folder is not None:
            multiprocess.mark_process_dead(self._name(place), str(self._folder))  # type: ignore[no-untyped-call]

    def close(self) -> None:
        """Remove the folder that was made."""
        if self._folder is not None and self._is_ours:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _close_if_server(self) -> None:
        """At the end of a process, which may be a forked one."""
        if os.getpid() == self._server:
            self.close()

    def _mark(self, *, is_partial: bool) -> None:
        """Tell all workers whether one of them cannot be counted."""
        if self._folder is not None:
            mark = self._folder / metrics.PARTIAL
            with suppress(OSError):
                mark.touch() if is_partial else mark.unlink(missing_ok=True)

    def _file(self, kind: str, place: int) -> Path:
        if self._folder is None:
            raise FileNotFoundError(None, "no folder could be made")
        return self._folder / f"{kind}_{self._name(place)}.db"

    def _name(self, place: int | None) -> str:
        """Of a worker's files: another server may use the same folder."""
        return f"{self._server}-{place}"


def _make_folder(owner: tuple[int, int]) -> Path | None:
    try:
        folder = make_folder("flaskapp-metrics")
        _give(folder, owner)
    except OSError:
        return None
    return folder


def _give(path: Path, owner: tuple[int, int]) -> None:
    """Make the workers' user its owner."""
    if os.geteuid() == 0:
        os.chown(path, *owner)


def _make_file(file: Path, size: int, owner: tuple[int, int]) -> None:
    """All of it or nothing: a process that adds up the files must not read one that is too short."""
    new = file.with_suffix(".new")
    try:
        with new.open("wb") as stream:
            stream.write(bytes(size))  # a file with holes would look as large, and have no room
        _give(new, owner)
        new.rename(file)
    finally:
        new.unlink(missing_ok=True)


metrics_files = MetricsFiles()
