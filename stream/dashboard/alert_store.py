"""The SQLite file behind the dashboard: alerts with their acknowledgements, changes, and ended calls if they are kept.

Calls have the events of their reports beside them.
What is too old is deleted when the file is opened and once a day of changes. A file that fails is given up with one log
line: the dashboard goes on in memory.
"""

from __future__ import annotations

import json
import logging
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from stream import database
from stream.dashboard.changes import ChangeRecord
from stream.dashboard.views import CallRecord, RaisedAlert

LOCK_TIMEOUT_S = 0.2
DAY_MS = 86_400_000

log = logging.getLogger(__name__)


class AlertStore:
    """Alerts of the last `alert_days`, calls of the last `call_days`, changes of the last `change_days` (0: none).

    Raises `sqlite3.Error` or `OSError`.
    """

    def __init__(self, path: Path, *, alert_days: int, call_days: int, now_ms: float, change_days: int = 0) -> None:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._path, self._alert_days, self.call_days, self._change_days = path, alert_days, call_days, change_days
        self._database: sqlite3.Connection | None = database.connect(
            path, create_schema=_create_schema, lock_timeout_s=LOCK_TIMEOUT_S
        )
        self._database.execute("PRAGMA synchronous=NORMAL")  # the event loop waits for no disk
        self._deleted_ms = 0.0
        self._delete_old(now_ms)

    def newest_alerts(self, count: int) -> list[RaisedAlert]:
        """Return the newest alerts, the oldest first; rows that cannot be read are left out."""
        rows = self._read("SELECT record FROM alerts ORDER BY start_ms DESC LIMIT ?", (count,))
        found = []
        for (text,) in rows:
            try:
                found.append(RaisedAlert.model_validate_json(text))
            except ValueError:
                log.warning("%s: an alert cannot be read; left out", self._path)
        return found[::-1]

    def put_alert(self, record: RaisedAlert) -> None:
        """Insert an alert or replace it."""
        if not self._alert_days:
            return
        self._write("INSERT OR REPLACE INTO alerts VALUES (?, ?, ?)", (record.id, record.start_ms, record.to_json()))
        self._delete_old(record.start_ms)

    def put_call(self, record: CallRecord, *, events: bytes) -> None:
        """Insert an ended call, with the events of its report, or replace it, if calls are kept."""
        if self.call_days:
            self._write("INSERT OR REPLACE INTO calls VALUES (?, ?, ?)", (record.id, record.end_ms, record.to_json()))
            self._write("INSERT OR REPLACE INTO recordings VALUES (?, ?, ?)", (record.id, record.end_ms, events))

    def put_change(self, record: ChangeRecord) -> None:
        """Insert a change, if changes are kept."""
        if self._change_days:
            key = f"{record.time_ms:.3f}/{record.address}/{record.action}"
            self._write("INSERT OR REPLACE INTO changes VALUES (?, ?, ?)", (key, record.time_ms, record.to_json()))

    def changes(self, count: int) -> list[ChangeRecord]:
        """Return the newest changes, the newest first."""
        rows = self._read("SELECT record FROM changes ORDER BY time_ms DESC LIMIT ?", (count,))
        return [ChangeRecord.model_validate_json(text) for (text,) in rows]

    def calls(self, *, query: str = "") -> Iterator[CallRecord]:
        """Yield the calls that are kept, the newest first; `query` are words that each must have."""
        words = query.lower().split()
        for (text,) in self._read("SELECT record FROM calls ORDER BY end_ms DESC", ()):
            plain = json.dumps(json.loads(text), ensure_ascii=False).lower()
            if all(word in plain for word in words):
                yield CallRecord.model_validate_json(text)

    def call(self, name: str) -> tuple[CallRecord, bytes] | None:
        """Return a call by its id, and the events of its report; None if it is not kept."""
        statement = "SELECT record, events FROM calls JOIN recordings USING (id) WHERE id = ?"
        for text, events in self._read(statement, (name,)):
            return CallRecord.model_validate_json(text), events
        return None

    def close(self) -> None:
        """Close the file."""
        if self._database is not None:
            self._database.close()
            self._database = None

    def _delete_old(self, now_ms: float) -> None:
        if now_ms - self._deleted_ms < DAY_MS:
            return
        self._deleted_ms = now_ms
        self._write("DELETE FROM alerts WHERE start_ms < ?", (now_ms - DAY_MS * self._alert_days,))
        for table in ("calls", "recordings"):
            self._write(f"DELETE FROM {table} WHERE end_ms < ?", (now_ms - DAY_MS * self.call_days,))  # noqa: S608
        self._write("DELETE FROM changes WHERE time_ms < ?", (now_ms - DAY_MS * self._change_days,))

    def _read(self, statement: str, values: tuple[object, ...]) -> list[tuple[Any, ...]]:
        if self._database is None:
            return []
        try:
            return self._database.execute(statement, values).fetchall()
        except sqlite3.Error as error:
            self._give_up(error)
            return []

    def _write(self, statement: str, values: tuple[object, ...]) -> None:
        if self._database is None:
            return
        try:
            with self._database:
                self._database.execute(statement, values)
        except sqlite3.Error as error:
            self._give_up(error)

    def _give_up(self, error: sqlite3.Error) -> None:
        log.warning("%s: %s; alerts are kept in memory only", self._path, error)
        self.close()


def _create_schema(connection: sqlite3.Connection) -> None:
    tables = (
        ("alerts", "start_ms", "record TEXT"),
        ("calls", "end_ms", "record TEXT"),
        ("changes", "time_ms", "record TEXT"),
    )
    for table, time, content in (*tables, ("recordings", "end_ms", "events BLOB")):
        connection.execute(
            f"CREATE TABLE IF NOT EXISTS {table} (id TEXT PRIMARY KEY, {time} REAL NOT NULL, {content} NOT NULL)"
        )
        connection.execute(f"CREATE INDEX IF NOT EXISTS {table}_by_time ON {table} ({time})")
