"""Emptying the write-ahead logs of an embedded store, so that a destroyed key is in no file.

`secure_delete` overwrites a deleted row in the database file. Its old page stands in the write-ahead log until that is
emptied, which waits for whoever still reads from it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import sqlalchemy as sa

from vaultstore.records.sqlite import BUSY_TIMEOUT

__all__ = ["WriteAheadLogs"]


class WriteAheadLogs:
    """The write-ahead logs of some files. `connects` give a raw connection to each, to be closed after use.

    What could not be emptied, because somebody read from it, is tried again with each later use of the gate.
    """

    def __init__(self, connects: Sequence[Callable[[], Any]]) -> None:
        self._connects = tuple(connects)
        self._full = False

    def __repr__(self) -> str:
        return f"<WriteAheadLogs {'full' if self._full else 'empty'}>"

    def empty(self) -> bool:
        """Empty them, without waiting for anybody; whether all of them are empty now."""
        done = [self._emptied(connect) for connect in self._connects]
        self._full = not all(done)
        return not self._full

    def again(self) -> None:
        """Empty them if that is still to be done. Whatever fails is tried again the next time."""
        if self._full:
            with suppress(sqlite3.Error, sa.exc.SQLAlchemyError):
                self.empty()

    @staticmethod
    def _emptied(connect: Callable[[], Any]) -> bool:
        connection = connect()
        try:
            cursor = connection.cursor()
            cursor.execute("PRAGMA busy_timeout = 0")
            try:
                busy = cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
            except sqlite3.OperationalError:  # locked: somebody else empties it, or writes
                busy = 1
            cursor.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT}")
        finally:
            connection.close()
        return not busy
