"""The rows of a journal: what is stored of a message, on which topics something is retained, and what can be trusted.

Every row has a checksum (CRC-32, which finds any single flipped bit). SQLite itself notices damage to its structure
only, not to the content of a row.
"""

from __future__ import annotations

import json
import sqlite3
import zlib
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from stream.database import connect, remove

MIN_CLOCK_S = 1_577_836_800.0
"""Start of 2020: an earlier wall-clock time comes from a clock that has not been set."""

StoredRow = tuple[int, str, str]
"""When a message was added (milliseconds since 1970), its topic and its payload."""

SCHEMA = """
CREATE TABLE IF NOT EXISTS pending (number INTEGER PRIMARY KEY, added_ms INTEGER NOT NULL,
  topic TEXT NOT NULL, payload TEXT NOT NULL, checksum INTEGER NOT NULL)
"""

ADD = """
INSERT OR REPLACE INTO pending
SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4 FROM json_each(?)
"""
"""All rows in one step: Python releases its lock at every step of a statement, and a busy loop returns it slowly."""

REMOVE = "DELETE FROM pending WHERE number IN (SELECT value FROM json_each(?))"

TOPICS_SCHEMA = "CREATE TABLE IF NOT EXISTS retained (topic TEXT PRIMARY KEY, checksum INTEGER NOT NULL)"

READ = "SELECT added_ms, topic, payload, checksum FROM pending ORDER BY number"
READ_UNCHECKED = "SELECT CAST(told * 1000 AS INTEGER), topic, payload FROM owed ORDER BY number"
"""Rows of earlier versions, which have no checksum."""


def read_rows(database: sqlite3.Connection) -> tuple[list[StoredRow], list[tuple[Any, ...]]]:
    """Return the sound rows in their order, and the damaged ones as they are. Raises `sqlite3.Error`."""
    rows, damaged = [], []
    database.text_factory = bytes  # text may not be UTF-8 any more
    try:
        found = [(_checked(raw), raw) for raw in database.execute(READ)]
        if database.execute("SELECT count(*) FROM sqlite_schema WHERE name = 'owed'").fetchone()[0]:
            found += [(_plausible(raw), raw) for raw in database.execute(READ_UNCHECKED)]
    except UnicodeDecodeError as error:  # a damaged name in a message of SQLite's own
        raise sqlite3.DatabaseError(str(error)) from None
    finally:
        database.text_factory = str
    for row, raw in found:
        if row is not None:
            rows.append(row)
        else:
            damaged.append(raw)
    return rows, damaged


def read_topics(database: sqlite3.Connection) -> set[str]:
    """Return the topics on which an earlier process may have left retained messages; damaged ones are left out."""
    database.text_factory = bytes
    try:
        found = database.execute("SELECT topic, checksum FROM retained NOT INDEXED").fetchall()
    except UnicodeDecodeError as error:
        raise sqlite3.DatabaseError(str(error)) from None
    finally:
        database.text_factory = str
    return {topic.decode() for topic, checksum in found if isinstance(topic, bytes) and zlib.crc32(topic) == checksum}


def insert_topics(database: sqlite3.Connection, new: Collection[str]) -> None:
    """Store topics before anything retained is published on them."""
    rows = [(topic, zlib.crc32(topic.encode())) for topic in new]
    database.executemany("INSERT OR REPLACE INTO retained VALUES (?, ?)", rows)


def remove_topics(database: sqlite3.Connection, cleared: Collection[str]) -> None:
    """Delete topics on which nothing is retained any more."""
    database.executemany("DELETE FROM retained WHERE topic = ?", [(topic,) for topic in cleared])


def insert_rows(database: sqlite3.Connection, rows: Sequence[tuple[int, int, str, str]]) -> None:
    """Store rows, each after its number."""
    if rows:
        stored = [
            (number, added_ms, topic, payload, _checksum(added_ms, topic, payload))
            for number, added_ms, topic, payload in rows
        ]
        database.execute(ADD, (json.dumps(stored),))


def remove_rows(database: sqlite3.Connection, numbers: Collection[int]) -> None:
    """Delete rows by number."""
    database.execute(REMOVE, (json.dumps(list(numbers)),))


def clear_rows(database: sqlite3.Connection) -> None:
    """Delete all rows and topics, and the table of earlier versions."""
    database.execute("DELETE FROM pending")
    database.execute("DROP TABLE retained")  # its index may be damaged
    database.execute(TOPICS_SCHEMA)
    database.execute("DROP TABLE IF EXISTS owed")


def has_rows(database: sqlite3.Connection) -> bool:
    """Whether any row or topic is stored."""
    return any(database.execute(f"SELECT 1 FROM {table} LIMIT 1").fetchone() for table in ("pending", "retained"))  # noqa: S608


def open_rows(path: Path) -> sqlite3.Connection:
    """Open a file for this process alone; it is created if it is missing, or not at all. Raises `sqlite3.Error`.

    A file that a full disk lets begin only would be taken for one in use.
    """
    existed = path.exists()
    try:
        return connect(path, create_schema=create_schema, exclusive=True)
    except sqlite3.Error as error:
        if not existed and getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR):
            remove(path)
        raise


def create_schema(connection: sqlite3.Connection) -> None:
    """Create what is missing."""
    connection.execute("PRAGMA synchronous=NORMAL")
    with connection:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute(SCHEMA)
        connection.execute(TOPICS_SCHEMA)


def age_s(added_wall_s: float, wall_s: float) -> float:
    """Return the age of an earlier process's message; 0 if either clock was not set."""
    return max(0.0, wall_s - added_wall_s) if min(added_wall_s, wall_s) > MIN_CLOCK_S else 0.0


def _checksum(added_ms: int, topic: str, payload: str) -> int:
    return zlib.crc32(f"{added_ms}\n{topic}\n{payload}".encode())


def _checked(raw: tuple[Any, ...]) -> StoredRow | None:
    """Return time, topic and payload of a row as it was written, None if it is damaged."""
    row = _decoded(raw[:3])
    return row if row is not None and _checksum(*row) == raw[3] else None


def _plausible(raw: tuple[Any, ...]) -> StoredRow | None:
    """Return a row without a checksum if it can be an event's: a topic without wildcards, and JSON."""
    row = _decoded(raw)
    if row is None or not row[1] or set(row[1]) & set("+#\0"):
        return None
    try:
        json.loads(row[2])
    except (ValueError, RecursionError):
        return None
    return row


def _decoded(raw: tuple[Any, ...]) -> StoredRow | None:
    added_ms, topic, payload = raw
    if not (isinstance(added_ms, int) and isinstance(topic, bytes) and isinstance(payload, bytes)):
        return None
    try:
        return added_ms, topic.decode(), payload.decode()
    except UnicodeDecodeError:
        return None
