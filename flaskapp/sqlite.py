"""SQLite: its file, and connections that wait for locks and for the disk in threads, so that gevent goes on."""

import logging
import os
import sqlite3
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Engine
from sqlalchemy.exc import OperationalError

from flaskapp.threads import Threads

log = logging.getLogger(__name__)

WAL_RETRY_INTERVAL = 0.05  # seconds
# More than connections: otherwise calls that wait for a lock could take all threads from the call that releases it.
MAX_THREADS = 64

_threads = Threads(MAX_THREADS)


class Cursor(sqlite3.Cursor):
    def execute(self, *arguments: Any) -> "Cursor":
        _threads.run(lambda: super(Cursor, self).execute(*arguments))
        return self

    def executemany(self, sql: str, parameters: Iterable[Any], /) -> "Cursor":
        _threads.run(lambda: super(Cursor, self).executemany(sql, parameters))
        return self


class Connection(sqlite3.Connection):
    """The `factory` for `sqlite3.connect`."""

    def cursor(self, factory: Any = Cursor) -> Any:
        return super().cursor(factory)

    def commit(self) -> None:
        _threads.run(super().commit)

    def rollback(self) -> None:
        _threads.run(super().rollback)


def make_file(url: URL) -> None:
    """Make an SQLite file that no other user can read; SQLite gives its journal the same mode.

    An existing file is not opened: closing it would drop the locks that SQLite holds on it in this process.
    """
    if url.database and not url.database.startswith("file:"):
        path = Path(url.database)
        path.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileExistsError):
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))


def use_wal(engine: Engine, timeout: float) -> None:
    """Switch an SQLite file to WAL, so that readers and the writer do not block each other. The file keeps the mode.

    Retry for `timeout` seconds: SQLite ignores its own busy timeout when several processes switch at once.
    """
    until = time.monotonic() + timeout
    while True:
        try:
            with engine.connect() as connection:
                mode = connection.exec_driver_sql("PRAGMA journal_mode = WAL").scalar()
            break
        except OperationalError as error:
            if "locked" not in str(error.orig) or time.monotonic() >= until:
                raise
        time.sleep(WAL_RETRY_INTERVAL)
    if mode != "wal":
        log.warning("The SQLite file cannot be switched to WAL: readers and the writer block each other")
