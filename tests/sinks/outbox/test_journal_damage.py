"""A journal whose file is damaged, or of an earlier version."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from scripts.faults.bit_flips import flip_bits, read_outbox, write_outbox
from tests.sinks.outbox.journals import NAME, Clock, message

pytestmark = pytest.mark.slow


def test_a_flipped_bit_stops_no_start_and_sends_nothing_false(tmp_path: Path) -> None:
    counts = flip_bits(write_outbox, read_outbox, times=100, seed=11, folder=tmp_path)
    assert counts["failed"] == counts["false"] == 0


def test_damaged_rows_are_put_aside_and_the_others_read(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def check() -> None:
        first = Clock().open(tmp_path)
        await first.open()
        await first.write([message(number) for number in range(4)])
        await first.close()
        with closing(sqlite3.connect(tmp_path / f"{NAME}.sqlite")) as database, database:
            database.execute("UPDATE pending SET payload = CAST(x'ff00fe' AS TEXT) WHERE number = 0")
            database.execute("""UPDATE pending SET payload = '{"id":"7"}' WHERE number = 1""")
            database.execute("UPDATE pending SET topic = 'turn/#' WHERE number = 2")
        second = Clock().open(tmp_path)
        assert [m.payload for m in await second.open()] == ['{"id":"3"}']
        await second.close()
        third = Clock().open(tmp_path)
        assert len(await third.open()) == 1
        await third.close()

    asyncio.run(check())
    assert caplog.text.count("3 events in outbox") == 1
    (aside,) = tmp_path.glob("*.damaged-rows-*")
    assert aside.stat().st_mode & 0o077 == 0
    assert len(aside.read_text().splitlines()) == 3


def test_rows_of_an_earlier_version_are_read_if_they_can_be_an_events(tmp_path: Path) -> None:
    async def check() -> None:
        with closing(sqlite3.connect(tmp_path / f"{NAME}.sqlite")) as database, database:
            database.execute(
                "CREATE TABLE owed (number INTEGER PRIMARY KEY, told REAL NOT NULL, topic TEXT NOT NULL,"
                " payload TEXT NOT NULL)"
            )
            database.executemany(
                "INSERT INTO owed VALUES (?, ?, ?, ?)",
                [(0, 1_799_999_990.0, "turn", '{"id":"0"}'), (1, 1.0, "turn", "no JSON"), (2, 1.0, "#", '{"id":"2"}')],
            )
        journal = Clock().open(tmp_path)
        (found,) = await journal.open()
        assert (found.payload, found.added_s) == ('{"id":"0"}', 90.0)
        await journal.write(obsolete=[found])
        await journal.close()
        assert not (tmp_path / f"{NAME}.sqlite").exists()

    asyncio.run(check())


def test_topics_of_retained_messages_outlive_the_process(tmp_path: Path) -> None:
    async def check() -> None:
        first = Clock().open(tmp_path)
        await first.open()
        await first.remember_retained({"room/state", "hall/state"})
        first.forget_retained("hall/state")
        await first.write()
        await first.close()
        with closing(sqlite3.connect(tmp_path / f"{NAME}.sqlite")) as database, database:
            database.execute("INSERT INTO retained VALUES ('room/#', 7)")
        second = Clock().open(tmp_path)
        assert await second.open() == []
        assert second.retained_topics == {"room/state"}
        second.forget_retained("room/state")
        await second.close()
        assert not list(tmp_path.glob("*.sqlite")), "nothing is left to remember"

    asyncio.run(check())
