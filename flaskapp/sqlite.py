"""SQLite's own: calls that may wait for a lock or for the disk are made in threads, where gevent would have to wait."""

import sqlite3
from collections.abc import Iterable
from typing import Any

from flaskapp.threads import Threads

MOST = 64  # threads: more than connections, or those that wait for a lock would keep from a thread the one that has it

_threads = Threads(MOST)


class Cursor(sqlite3.Cursor):
    def execute(self, *arguments: Any) -> "Cursor":
        _threads.run(lambda: super(Cursor, self).execute(*arguments))
        return self

    def executemany(self, sql: str, parameters: Iterable[Any], /) -> "Cursor":
        _threads.run(lambda: super(Cursor, self).executemany(sql, parameters))
        return self


class Connection(sqlite3.Connection):
    """For the argument `factory` of `sqlite3.connect`."""

    def cursor(self, factory: Any = Cursor) -> Any:
        return super().cursor(factory)

    def commit(self) -> None:
        _threads.run(super().commit)

    def rollback(self) -> None:
        _threads.run(super().rollback)
