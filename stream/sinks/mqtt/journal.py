"""What the outbox owes, on disk: it survives our own death, and comes back at the next start.

A `Journal` is an SQLite file (WAL, `synchronous=NORMAL`: what was written survives SIGKILL at any moment; a power
failure may take the last moments, never the rest) that holds the ordered messages not yet acknowledged. It is written
by one thread of its own, in batches, and belongs to one process at a time: whoever comes second takes the next free
slot, and whoever comes later finds what a dead one left there.

A disk that is full or broken costs durability, not events: they are owed from memory, counted as `unsaved`, said once,
and written when the disk takes them again. A file that is damaged is put aside and said; it never stops a run.

Times of day are only used between processes; a clock that was set back, or that was not set at all, makes no event old.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import os
import sqlite3
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from stream.database import connect, remove
from stream.sinks.mqtt.outbox import Message
from stream.sinks.mqtt.topics import BrokerAddress

SLOTS = 16
"""Processes of one node and broker that may each have a file."""

AGAIN_S = 5.0
"""Pause before a disk that failed is tried again."""

CLOCK_SET_S = 1_577_836_800.0
"""2020: a time of day before it comes from a clock that nobody has set yet."""

SCHEMA = """
CREATE TABLE IF NOT EXISTS owed (number INTEGER PRIMARY KEY, told REAL NOT NULL,
  topic TEXT NOT NULL, payload TEXT NOT NULL)
"""

ADD = """
INSERT OR REPLACE INTO owed
SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3 FROM json_each(?)
"""
"""All rows in one step: Python gives up its lock at every step of a statement, and a busy loop is slow to return it."""

REMOVE = "DELETE FROM owed WHERE number IN (SELECT value FROM json_each(?))"

Result = TypeVar("Result")

log = logging.getLogger(__name__)


class Journal:
    """The file behind an outbox; `folder` None: there is none, and everything is owed from memory."""

    def __init__(
        self,
        *,
        folder: Path | None,
        name: str,
        clock: Callable[[], float],
        time_of_day: Callable[[], float] = time.time,
    ) -> None:
        self._folder = folder
        self._name = name
        self._clock = clock
        self._time_of_day = time_of_day
        self._path: Path | None = None
        self._database: sqlite3.Connection | None = None
        self._thread: ThreadPoolExecutor | None = None
        self._unsaved: dict[int, Message] = {}
        self._obsolete: set[int] = set()  # acknowledged, but still on disk
        self._failed_s: float | None = None

    @property
    def durable(self) -> bool:
        """Whether what is written is on disk."""
        return self._folder is not None and self._failed_s is None

    @property
    def unsaved(self) -> int:
        """Messages owed from memory only because the disk does not take them."""
        return len(self._unsaved)

    async def open(self) -> list[Message]:
        """Open a free slot; returns what is owed from before, oldest first."""
        if self._folder is None:
            return []
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="tonewatch-outbox")
        return await self._run(self._open)

    async def write(self, fresh: Sequence[Message] = (), *, obsolete: Iterable[Message] = ()) -> None:
        """Returns when `fresh` is on disk and `obsolete` no longer is, or when that was seen to be hopeless."""
        if self._thread is None:
            return
        self._obsolete.update(message.number for message in obsolete)
        if not fresh and not self._obsolete:
            return
        numbers, self._obsolete = self._obsolete, set()
        await self._run(lambda: self._write(fresh, numbers))

    def retire(self, message: Message) -> int:
        """A message was acknowledged: it leaves the disk with the next `write`. Returns how many wait for that."""
        if self._thread is not None:
            self._obsolete.add(message.number)
        return len(self._obsolete)

    async def close(self) -> None:
        """Write what is left and let the file go; one that owes nothing is removed."""
        if self._thread is None:
            return
        await self.write()
        await self._run(self._close)
        self._thread.shutdown(wait=False)
        self._thread = None

    async def _run(self, work: Callable[[], Result]) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    def _open(self) -> list[Message]:
        assert self._folder is not None  # noqa: S101 - `open` has looked
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            self._fail(error)
            return []
        rows: list[tuple[float, str, str]] = []
        orphans: list[tuple[Path, sqlite3.Connection]] = []  # left by processes that are no more
        for slot in range(SLOTS):
            path = self._slot(slot)
            if self._database is not None and not path.exists():
                continue
            found = self._claim(path)
            if found is None:
                continue
            rows += found.execute("SELECT told, topic, payload FROM owed ORDER BY number").fetchall()
            if self._database is None:
                self._database, self._path = found, path
            else:
                orphans.append((path, found))
        messages = self._adopt(rows)
        for path, orphan in orphans:
            if self._failed_s is None:
                remove(path)  # while it is locked, so that nobody writes into a file without a name
            orphan.close()
        return messages

    def _claim(self, path: Path) -> sqlite3.Connection | None:
        """Open a slot for ourselves; None where it is another process's or cannot be used."""
        try:
            return connect(path, prepare=_set_up, exclusive=True)
        except sqlite3.OperationalError as error:
            if "locked" not in str(error):
                self._fail(error)
            return None
        except sqlite3.DatabaseError as error:
            aside = path.with_name(f"{path.name}.damaged-{int(self._time_of_day())}")
            log.warning("%s is damaged (%s); it is kept as %s, and what it owed is lost", path, error, aside.name)
            with suppress(OSError, sqlite3.Error):
                path.rename(aside)
                remove(path)  # what stood beside it
                return connect(path, prepare=_set_up, exclusive=True)
            return None

    def _adopt(self, rows: list[tuple[float, str, str]]) -> list[Message]:
        """Number what was found anew, in its order, and keep it all in our own slot."""
        now_s, today_s = self._clock(), self._time_of_day()
        messages = [
            Message(topic, payload, rolling=False, number=number, told_s=now_s - _age_s(told, today_s))
            for number, (told, topic, payload) in enumerate(rows)
        ]
        if self._database is not None and rows:
            try:
                with self._database as database:
                    database.execute("DELETE FROM owed")
                    self._insert(database, messages)
            except sqlite3.Error as error:
                self._fail(error)
                self._unsaved = {message.number: message for message in messages}
        return messages

    def _write(self, fresh: Sequence[Message], obsolete: set[int]) -> None:
        for number in obsolete:
            self._unsaved.pop(number, None)
        self._unsaved |= {message.number: message for message in fresh}
        if self._failed_s is not None and self._clock() - self._failed_s < AGAIN_S:
            self._obsolete |= obsolete
            return
        try:
            if self._database is None:
                self._reopen()
            assert self._database is not None  # noqa: S101 - `_reopen` raises otherwise
            with self._database as database:
                if obsolete:
                    database.execute(REMOVE, (json.dumps(list(obsolete)),))
                self._insert(database, self._unsaved.values())
        except (sqlite3.Error, OSError) as error:
            self._obsolete |= obsolete
            self._fail(error)
            return
        if self._failed_s is not None:
            log.warning("the outbox is on disk again")
            self._failed_s = None
        self._unsaved.clear()

    def _insert(self, database: sqlite3.Connection, messages: Iterable[Message]) -> None:
        now_s, today_s = self._clock(), self._time_of_day()
        rows = [
            (message.number, today_s - (now_s - message.told_s), message.topic, message.payload) for message in messages
        ]
        if rows:
            database.execute(ADD, (json.dumps(rows),))

    def _reopen(self) -> None:
        assert self._folder is not None  # noqa: S101 - there is no thread without one
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        fresh = (path for path in map(self._slot, range(SLOTS)) if not path.exists())  # not over what we never read
        path = self._path or next(fresh, None)
        if path is None:
            raise OSError(f"{SLOTS} files are there already")
        self._database, self._path = connect(path, prepare=_set_up, exclusive=True), path

    def _slot(self, number: int) -> Path:
        assert self._folder is not None  # noqa: S101 - there is no thread without one
        return self._folder / f"{self._name}{f'.{number}' if number else ''}.sqlite"

    def _fail(self, error: Exception) -> None:
        if self._failed_s is None:
            log.warning(
                "the outbox in %s cannot be written (%s): events are owed from memory until it can; make room",
                self._folder,
                error,
            )
        self._failed_s = self._clock()
        if self._database is not None:
            with suppress(sqlite3.Error):
                self._database.close()
            self._database = None

    def _close(self) -> None:
        database, self._database = self._database, None
        if database is None:
            return
        with suppress(sqlite3.Error):
            if self._path is not None and not database.execute("SELECT count(*) FROM owed").fetchone()[0]:
                remove(self._path)
        database.close()


def state_folder(chosen: str) -> Path | None:
    """The folder chosen: none, a path, or for `auto` where a program's state belongs.

    That is `$STATE_DIRECTORY` (systemd), or `tonewatch` in `$XDG_STATE_HOME` or `~/.local/state`.
    """
    if chosen != "auto":
        return Path(chosen) if chosen else None
    given = os.environ.get("STATE_DIRECTORY", "").split(":")[0]
    if given:
        return Path(given)
    home = os.environ.get("XDG_STATE_HOME", "")
    return (Path(home) if home else Path.home() / ".local" / "state") / "tonewatch"


def name_of(node: str, address: BrokerAddress) -> str:
    """The file's name for one node and broker."""
    key = f"{address.host}\n{address.port}\n{address.prefix}"
    return f"outbox-{node}-{hashlib.sha256(key.encode()).hexdigest()[:8]}"


def _set_up(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA synchronous=NORMAL")
    with connection:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute(SCHEMA)


def _age_s(told: float, today_s: float) -> float:
    """How old a message of an earlier process is; 0 where a clock cannot be believed."""
    return max(0.0, today_s - told) if min(told, today_s) > CLOCK_SET_S else 0.0
