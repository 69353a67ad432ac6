"""SQLite files that only their owner can read, checked for damage when they are opened."""

from __future__ import annotations

import errno
import os
import secrets
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

FILE_SUFFIXES = ("", "-wal", "-shm")
"""Suffixes of an SQLite file in WAL mode and of the files that belong to it."""


def connect(
    path: Path,
    *,
    create_schema: Callable[[sqlite3.Connection], None],
    lock_timeout_s: float = 0.0,
    exclusive: bool = False,
) -> sqlite3.Connection:
    """Open a file in WAL mode with immediate transactions; a new file is created with mode 0600.

    `create_schema` creates missing tables, `lock_timeout_s` bounds the wait for another process's lock, and `exclusive`
    locks the file until the connection is closed. Raises `sqlite3.Error`: `OperationalError` with "locked" if another
    process holds the lock, `DatabaseError` if the file is damaged.
    """
    with suppress(OSError):
        os.close(
            os.open(path, os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        )  # SQLite would create it readable by others
    database = sqlite3.connect(path, timeout=lock_timeout_s, isolation_level="IMMEDIATE")
    with _closed_on_failure(database):
        if exclusive:
            database.execute("PRAGMA locking_mode=EXCLUSIVE")
        database.execute("PRAGMA journal_mode=WAL")
        create_schema(database)
        _check(database)
    return database


def connect_read_only(path: Path) -> sqlite3.Connection:
    """Open a file that cannot be written, such as one on a read-only disk. Raises `sqlite3.Error`."""
    log = path.with_name(path.name + "-wal")
    complete = not (log.exists() and log.stat().st_size)  # else the newest changes are in the log
    database = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro{'&immutable=1' * complete}", uri=True)
    with _closed_on_failure(database):
        _check(database)
    return database


def create(path: Path, *, create_schema: Callable[[sqlite3.Connection], None]) -> None:
    """Create a file that does not exist. It appears with its tables, so that an empty file is a damaged one."""
    if path.exists():
        return
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        connect(temporary, create_schema=create_schema).close()
        os.link(temporary, path)
    except FileExistsError:  # another process was quicker
        pass
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS) or not temporary.exists():
            raise
        temporary.rename(path)  # a file system without links
    finally:
        remove(temporary)


@contextmanager
def _closed_on_failure(database: sqlite3.Connection) -> Iterator[None]:
    """Close the file if opening it fails. Raises `sqlite3.DatabaseError` also for a message that is damaged itself."""
    try:
        yield
    except UnicodeDecodeError as error:  # a damaged name in a message of SQLite's own
        database.close()
        raise sqlite3.DatabaseError(str(error)) from None
    except BaseException:
        database.close()
        raise


def _check(database: sqlite3.Connection) -> None:
    result = database.execute("PRAGMA quick_check(1)").fetchone()[0]
    if result != "ok":
        raise sqlite3.DatabaseError(result)


def remove(path: Path) -> None:
    """Delete a file and those that belong to it."""
    for suffix in FILE_SUFFIXES:
        with suppress(OSError):
            path.with_name(path.name + suffix).unlink()
