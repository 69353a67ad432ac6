"""The outbox on disk: unacknowledged messages survive the process and are delivered at the next start.

A `Journal` is an SQLite file of the ordered messages that are not yet acknowledged (WAL, `synchronous=NORMAL`: written
rows survive SIGKILL at any moment; a power failure may lose the last commits, never the file). One thread of its own
writes it, in batches. A file belongs to one process at a time: a second process uses the next free slot, and a later
process adopts the rows that a terminated one left.

Refused messages move to the `SetAsideStore`. The journal also lists the topics on which retained messages were
published, so that the next process can take back what a killed one left.

A full or broken disk costs durability, not events: they stay in memory, are counted as `not_persisted`, logged once,
and written when the disk accepts them again. A damaged file is renamed and logged, a damaged row put aside and logged;
neither stops a run, and neither is sent.

Wall-clock times are used between processes only; a clock that was set back, or not set at all, makes no event old.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from stream.database import remove
from stream.sinks.outbox.files import private
from stream.sinks.outbox.journal_rows import (
    StoredRow,
    age_s,
    clear_rows,
    has_rows,
    insert_rows,
    insert_topics,
    open_rows,
    read_rows,
    read_topics,
    remove_rows,
    remove_topics,
)
from stream.sinks.outbox.messages import Message
from stream.sinks.outbox.set_aside import SetAsideStore

MAX_SLOTS = 16
"""Files of one node and receiver: processes that may run at the same time."""

RETRY_S = 5.0
"""Pause before a disk that failed is tried again."""

DISK_ERRORS = frozenset(
    {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_READONLY,
    }
)
"""Errors that say nothing about the content of a file."""

Result = TypeVar("Result")

log = logging.getLogger(__name__)


class Journal:
    """The file of an outbox; with `folder` None messages are kept in memory only."""

    def __init__(
        self,
        *,
        folder: Path | None,
        name: str,
        clock: Callable[[], float],
        time_of_day: Callable[[], float] = time.time,
        set_aside: SetAsideStore | None = None,
    ) -> None:
        self._folder = folder
        self._name = name
        self._clock = clock
        self._time_of_day = time_of_day
        self._set_aside = set_aside
        self._refused: list[tuple[Message, str]] = []  # with reasons, to be set aside
        self._set_aside_failed = False
        self._path: Path | None = None
        self._database: sqlite3.Connection | None = None
        self._thread: ThreadPoolExecutor | None = None
        self._not_persisted: dict[int, Message] = {}
        self._acknowledged: set[int] = set()  # numbers of messages that are still on disk
        self._failed_s: float | None = None
        self._topics: set[str] = set()  # with retained messages
        self._stored_topics: set[str] = set()

    @property
    def retained_topics(self) -> frozenset[str]:
        """Topics on which something may be retained, after `open` those of earlier processes."""
        return frozenset(self._topics)

    @property
    def durable(self) -> bool:
        """Whether written messages are on disk."""
        return self._folder is not None and self._failed_s is None

    @property
    def not_persisted(self) -> int:
        """Number of messages kept in memory only because the disk failed."""
        return len(self._not_persisted)

    async def open(self) -> list[Message]:
        """Open a free slot; returns the messages of earlier processes, oldest first."""
        if self._folder is None:
            return []
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="tonewatch-outbox")
        return await self._run(self._open)

    async def write(self, new: Sequence[Message] = (), *, obsolete: Iterable[Message] = ()) -> None:
        """Store `new`, delete `obsolete` and acknowledged messages; returns when that is done or the disk failed."""
        if self._thread is None:
            return
        self._acknowledged.update(message.number for message in obsolete)
        if not (new or self._acknowledged or self._refused) and self._topics == self._stored_topics:
            return
        numbers, self._acknowledged = self._acknowledged, set()
        refused, self._refused = self._refused, []
        await self._run(lambda: self._write(new, numbers, refused))

    async def remember_retained(self, topics: Iterable[str]) -> None:
        """List topics before something retained is published on them; returns when that is done or the disk failed."""
        self._topics.update(topics)
        await self.write()

    def forget_retained(self, topic: str) -> None:
        """Remove a topic from the list, with the next `write`: nothing is retained on it any more."""
        self._topics.discard(topic)

    def mark_acknowledged(self, message: Message) -> int:
        """Remove a message from the disk with the next `write`; returns how many wait for it."""
        if self._thread is not None:
            self._acknowledged.add(message.number)
        return len(self._acknowledged)

    def mark_refused(self, message: Message, reason: str) -> None:
        """Add a message to those set aside, with the next `write`; rolling state is not kept."""
        if self._set_aside is not None and not message.rolling:
            self._refused.append((message, reason))

    async def close(self) -> None:
        """Write pending changes and close the file; one without messages is deleted."""
        if self._thread is None:
            return
        await self.write()
        await self._run(self._close)
        self._thread.shutdown(wait=False)
        self._thread = None

    async def _run(self, work: Callable[[], Result]) -> Result:
        """Run `work` in the journal's thread; it completes even if the caller is cancelled."""
        return await asyncio.shield(asyncio.get_running_loop().run_in_executor(self._thread, work))

    def _open(self) -> list[Message]:
        assert self._folder is not None  # noqa: S101 - checked in `open`
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            self._fail(error)
            return []
        rows: list[StoredRow] = []
        orphans: list[tuple[Path, sqlite3.Connection]] = []  # left by terminated processes
        for slot in range(MAX_SLOTS):
            path = self._slot_path(slot)
            if (self._database is not None or self._failed_s is not None) and not path.exists():
                continue
            database = self._claim(path)
            if database is None:
                continue
            try:
                rows += self._read(path, database)
                self._topics |= read_topics(database)
            except sqlite3.Error as error:
                database.close()
                database = self._replace_damaged(path, error)
                if database is None:
                    continue
            if self._database is None:
                self._database, self._path = database, path
            else:
                orphans.append((path, database))
        messages = self._adopt(rows)
        for path, orphan in orphans:
            if self._failed_s is None:
                remove(path)  # while it is locked, so that no other process writes into an unlinked file
            orphan.close()
        return messages

    def _claim(self, path: Path) -> sqlite3.Connection | None:
        """Open a slot exclusively; None if another process owns it or it cannot be used."""
        try:
            return open_rows(path)
        except sqlite3.Error as error:
            code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF
            if code not in DISK_ERRORS:
                return self._replace_damaged(path, error)
            if code not in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
                self._fail(error)
            return None

    def _replace_damaged(self, path: Path, error: Exception) -> sqlite3.Connection | None:
        """Rename a damaged file and return a new one in its place; None if the disk refuses."""
        backup = path.with_name(f"{path.name}.damaged-{int(self._time_of_day())}")
        log.warning("outbox %s is damaged (%s); renamed to %s, its events are lost", path, error, backup.name)
        with suppress(OSError, sqlite3.Error):
            path.rename(backup)
            remove(path)  # its -wal and -shm files
            return open_rows(path)
        return None

    def _read(self, path: Path, database: sqlite3.Connection) -> list[StoredRow]:
        """Return time, topic and payload of the sound rows; damaged ones are put aside in a file and logged."""
        rows, damaged = read_rows(database)
        if damaged:
            aside = path.with_name(f"{path.name}.damaged-rows-{int(self._time_of_day())}")
            log.warning("%d events in outbox %s are damaged and not sent; see %s", len(damaged), path, aside.name)
            with suppress(OSError), open(aside, "a", encoding="ascii", opener=private) as file:
                file.writelines(f"{row!r}\n" for row in damaged)
        return rows

    def _adopt(self, rows: list[StoredRow]) -> list[Message]:
        """Renumber the rows found, in their order, and store them all in the claimed slot."""
        now_s, wall_s = self._clock(), self._time_of_day()
        messages = [
            Message(topic, payload, rolling=False, number=number, added_s=now_s - age_s(added_ms / 1_000, wall_s))
            for number, (added_ms, topic, payload) in enumerate(rows)
        ]
        if self._database is not None:
            try:
                with self._database as database:
                    clear_rows(database)
                    self._insert(database, messages)
                    insert_topics(database, self._topics)
                self._stored_topics = set(self._topics)
            except sqlite3.Error as error:
                self._fail(error)
                self._not_persisted = {message.number: message for message in messages}
        return messages

    def _write(
        self, new: Sequence[Message], acknowledged: set[int], refused: Sequence[tuple[Message, str]] = ()
    ) -> None:
        self._keep(refused)  # before they are removed below
        for number in acknowledged:
            self._not_persisted.pop(number, None)
        self._not_persisted |= {message.number: message for message in new}
        if self._failed_s is not None and self._clock() - self._failed_s < RETRY_S:
            self._acknowledged |= acknowledged
            return
        try:
            if self._database is None:
                self._reopen()
            assert self._database is not None  # noqa: S101 - `_reopen` raises otherwise
            with self._database as database:
                if acknowledged:
                    remove_rows(database, acknowledged)
                self._insert(database, self._not_persisted.values())
                topics = set(self._topics)
                insert_topics(database, topics - self._stored_topics)
                remove_topics(database, self._stored_topics - topics)
            self._stored_topics = topics
        except (sqlite3.Error, OSError) as error:
            self._acknowledged |= acknowledged
            self._fail(error)
            return
        if self._failed_s is not None:
            log.warning("outbox in %s is writable again", self._folder)
            self._failed_s = None
        self._not_persisted.clear()

    def _keep(self, refused: Sequence[tuple[Message, str]]) -> None:
        if not refused or self._set_aside is None:
            return
        try:
            self._set_aside.add(refused)
        except (sqlite3.Error, OSError) as error:
            if not self._set_aside_failed:
                log.warning("%d refused events are not kept (%s); free disk space", len(refused), error)
            self._set_aside_failed = True
            self._set_aside.close()
        else:
            self._set_aside_failed = False

    def _insert(self, database: sqlite3.Connection, messages: Iterable[Message]) -> None:
        now_s, wall_s = self._clock(), self._time_of_day()
        insert_rows(
            database,
            [
                (message.number, round((wall_s - (now_s - message.added_s)) * 1_000), message.topic, message.payload)
                for message in messages
            ],
        )

    def _reopen(self) -> None:
        assert self._folder is not None  # noqa: S101 - the thread runs only with a folder
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        unused = (path for path in map(self._slot_path, range(MAX_SLOTS)) if not path.exists())  # never an unread file
        path = self._path or next(unused, None)
        if path is None:
            raise OSError(f"all {MAX_SLOTS} slots are in use")
        self._database, self._path = open_rows(path), path
        self._stored_topics = read_topics(self._database)

    def _slot_path(self, slot: int) -> Path:
        assert self._folder is not None  # noqa: S101 - the thread runs only with a folder
        return self._folder / f"{self._name}{f'.{slot}' if slot else ''}.sqlite"

    def _fail(self, error: Exception) -> None:
        if self._failed_s is None:
            log.warning(
                "cannot write the outbox in %s (%s), events are kept in memory until then; free disk space",
                self._folder,
                error,
            )
        self._failed_s = self._clock()
        if self._database is not None:
            with suppress(sqlite3.Error):
                self._database.close()
            self._database = None

    def _close(self) -> None:
        if self._set_aside is not None:
            self._set_aside.close()
        database, self._database = self._database, None
        if database is None:
            return
        with suppress(sqlite3.Error):
            if self._path is not None and not has_rows(database):
                remove(self._path)
        database.close()
