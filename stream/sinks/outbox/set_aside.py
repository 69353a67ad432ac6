"""Messages that a receiver refused: kept on disk beside the outbox, to be looked at and sent again.

One SQLite file of a node and receiver, which several processes may open at a time: the nodes of that name, and the
command `tonewatch outbox`. The bounds of the outbox apply to it as well; beyond them the oldest messages are deleted.
"""

from __future__ import annotations

import sqlite3
import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from stream.database import connect
from stream.events import SetAside
from stream.settings.outbox import OutboxSettings
from stream.sinks.outbox.messages import Message

LOCK_TIMEOUT_S = 5.0

MAX_LISTED = 8
"""Kinds of refused messages that are listed in `health`."""

SCHEMA = """
CREATE TABLE IF NOT EXISTS set_aside (number INTEGER PRIMARY KEY AUTOINCREMENT, refused_s REAL NOT NULL,
  reason TEXT NOT NULL, topic TEXT NOT NULL, payload TEXT NOT NULL)
"""

ADD = "INSERT INTO set_aside (refused_s, reason, topic, payload) VALUES (?, ?, ?, ?)"

TOO_MANY = """
DELETE FROM set_aside WHERE refused_s < ? OR number IN (
  SELECT number FROM (
    SELECT number, row_number() OVER newest AS place, sum(length(topic) + length(payload)) OVER newest AS size
    FROM set_aside WINDOW newest AS (ORDER BY number DESC)
  ) WHERE place > 1 AND (place > ? OR size > ?)
)
"""

TRIMMED_EACH = 64
"""Messages after which the bounds are applied: the sum over all of them takes time."""


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class RefusedMessage:
    """One message, when it was refused (POSIX time), and why."""

    number: int
    refused_s: float
    reason: str
    topic: str
    payload: str


class SetAsideStore:
    """The file; it appears with the first message. Everything raises `sqlite3.Error` or `OSError` of a broken disk."""

    def __init__(self, path: Path, settings: OutboxSettings, *, time_of_day: Callable[[], float] = time.time) -> None:
        self._path, self._settings, self._time_of_day = path, settings, time_of_day
        self._database: sqlite3.Connection | None = None
        self._since_trim = 0

    @classmethod
    def of(cls, folder: Path | None, name: str, settings: OutboxSettings) -> SetAsideStore | None:
        """Return the store beside the outbox of this name; None without a folder."""
        return None if folder is None else cls(folder / f"{name}.set-aside.sqlite", settings)

    def add(self, messages: Sequence[tuple[Message, str]]) -> None:
        """Store messages with their reasons, and delete what is beyond the bounds."""
        now_s, settings = self._time_of_day(), self._settings
        with self._open() as database:
            database.executemany(ADD, [(now_s, reason, one.topic, one.payload) for one, reason in messages])
            self._since_trim -= len(messages)
            if self._since_trim < 0:
                self._since_trim = TRIMMED_EACH
                bounds = (now_s - settings.outbox_age_s, settings.queue_events, settings.outbox_mb * 1e6)
                database.execute(TOO_MANY, bounds)

    def read(self) -> list[RefusedMessage]:
        """Return all messages, oldest first."""
        if not self._path.exists():
            return []
        rows = self._open().execute("SELECT number, refused_s, reason, topic, payload FROM set_aside ORDER BY number")
        return [RefusedMessage(*row) for row in rows]

    def remove(self, messages: Collection[RefusedMessage]) -> None:
        """Delete messages."""
        with self._open() as database:
            database.executemany("DELETE FROM set_aside WHERE number = ?", [(one.number,) for one in messages])

    def close(self) -> None:
        """Close the file."""
        if self._database is not None:
            self._database.close()
            self._database = None

    def _open(self) -> sqlite3.Connection:
        if self._database is None:
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._database = connect(self._path, create_schema=_create_schema, lock_timeout_s=LOCK_TIMEOUT_S)
        return self._database


class SetAsideCounts:
    """What a receiver refused since the start, by kind, for `health` (pure)."""

    def __init__(self, *, time_of_day: Callable[[], datetime] = _now) -> None:
        self._time_of_day = time_of_day
        self._counts: OrderedDict[str, SetAside] = OrderedDict()

    def add(self, *, kind: str, topic: str, reason: str) -> bool:
        """Count a message; returns whether it is the first of its kind."""
        known = self._counts.get(kind)
        count = 1 if known is None else known.count + 1
        self._counts[kind] = SetAside(topic=topic, reason=reason, count=count, time=self._time_of_day())
        self._counts.move_to_end(kind)
        if len(self._counts) > MAX_LISTED:
            self._counts.popitem(last=False)
        return known is None

    def newest_first(self) -> tuple[SetAside, ...]:
        """Return the kinds refused last."""
        return tuple(reversed(self._counts.values()))


def _create_schema(database: sqlite3.Connection) -> None:
    database.execute("PRAGMA synchronous=NORMAL")
    with database:
        database.execute("BEGIN IMMEDIATE")
        database.execute(SCHEMA)
