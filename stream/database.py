"""An SQLite file that is its owner's alone: nobody else may read it, and it is whole or refused."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

ENDINGS = ("", "-wal", "-shm")
"""An SQLite file in WAL mode, and what may stand beside it."""


def connect(
    path: Path, *, prepare: Callable[[sqlite3.Connection], None], wait_s: float = 0.0, exclusive: bool = False
) -> sqlite3.Connection:
    """Open in WAL mode, making the file if need be; `prepare` brings tables. Transactions are immediate.

    Another process's lock is waited for `wait_s`; `exclusive` keeps the file to this connection. Raises
    `sqlite3.Error`: `OperationalError` with "locked" when it is another's, `DatabaseError` when it is damaged.
    """
    with suppress(OSError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))  # before SQLite makes it for everyone
    database = sqlite3.connect(path, timeout=wait_s, isolation_level="IMMEDIATE")
    try:
        if exclusive:
            database.execute("PRAGMA locking_mode=EXCLUSIVE")
        database.execute("PRAGMA journal_mode=WAL")
        prepare(database)
        fault = database.execute("PRAGMA quick_check(1)").fetchone()[0]
        if fault != "ok":
            raise sqlite3.DatabaseError(fault)  # noqa: TRY301 - closed on the way out like every other failure
    except BaseException:
        database.close()
        raise
    return database


def remove(path: Path) -> None:
    """The file, and what stands beside it."""
    for end in ENDINGS:
        with suppress(OSError):
            path.with_name(path.name + end).unlink()
