"""The journal: what was written survives, whatever happens to us or to the disk."""

from __future__ import annotations

import asyncio
import logging
import random
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.sinks.mqtt import journal
from stream.sinks.mqtt.journal import Journal, state_folder
from stream.sinks.mqtt.outbox import Message, Outbox

NAME = "outbox-kitchen"


class Clock:
    """Two clocks that stand still until they are moved: ours, and the time of day."""

    def __init__(self, *, now_s: float = 100.0, today_s: float = 1_800_000_000.0) -> None:
        self.now_s, self.today_s = now_s, today_s

    def open(self, folder: Path) -> Journal:
        return Journal(folder=folder, name=NAME, clock=lambda: self.now_s, time_of_day=lambda: self.today_s)


def message(number: int, *, told_s: float = 100.0) -> Message:
    return Message("turn", f'{{"id":"{number}"}}', rolling=False, number=number, told_s=told_s)


def test_what_was_written_comes_back_in_order(tmp_path: Path) -> None:
    async def talk() -> None:
        clock = Clock()
        first = clock.open(tmp_path)
        assert await first.open() == []
        await first.write([message(number) for number in range(5)])
        await first.write(obsolete=[message(0), message(2)])
        assert first.retire(message(1)) == 1
        await first.close()
        again = Clock(now_s=7.0, today_s=clock.today_s + 60).open(tmp_path)
        found = await again.open()
        assert [m.payload for m in found] == ['{"id":"3"}', '{"id":"4"}']
        assert [m.number for m in found] == [0, 1]
        assert [m.told_s for m in found] == [-53.0, -53.0], "a minute old on the new clock"
        await again.write(obsolete=found)
        await again.close()
        assert not list(tmp_path.iterdir()), "nothing is owed any more"

    asyncio.run(talk())


@pytest.mark.parametrize(
    ("told_on", "read_on", "age_s"),
    [(1_800_000_000.0, 1_800_000_500.0, 500), (1_800_000_000.0, 1_700_000_000.0, 0), (100.0, 1_800_000_000.0, 0)],
    ids=["later", "set back", "never set before"],
)
def test_a_clock_that_cannot_be_believed_makes_nothing_old(
    tmp_path: Path, told_on: float, read_on: float, age_s: float
) -> None:
    async def talk() -> None:
        first = Clock(today_s=told_on).open(tmp_path)
        await first.open()
        await first.write([message(0)])
        await first.close()
        again = Clock(now_s=0.0, today_s=read_on).open(tmp_path)
        (found,) = await again.open()
        assert found.told_s == -age_s
        await again.close()

    asyncio.run(talk())


def test_two_processes_do_not_share_a_file_and_the_next_finds_both(tmp_path: Path) -> None:
    async def talk() -> None:
        clock = Clock()
        one, other = clock.open(tmp_path), clock.open(tmp_path)
        await one.open()
        await other.open()
        await one.write([message(0)])
        await other.write([message(1)])
        await one.close()
        await other.close()
        assert len(list(tmp_path.glob("*.sqlite"))) == 2
        later = clock.open(tmp_path)
        assert sorted(m.payload for m in await later.open()) == ['{"id":"0"}', '{"id":"1"}']
        assert len(list(tmp_path.glob("*.sqlite"))) == 1
        await later.close()
        assert len(await clock.open(tmp_path).open()) == 2

    asyncio.run(talk())


@pytest.mark.parametrize("damage", [b"this is no database " * 400, b"", b"SQLite format 3\x00" + bytes(5_000)])
def test_a_damaged_file_is_put_aside_and_said(tmp_path: Path, damage: bytes, caplog: pytest.LogCaptureFixture) -> None:
    async def talk() -> None:
        (tmp_path / f"{NAME}.sqlite").write_bytes(damage)
        opened = Clock().open(tmp_path)
        assert await opened.open() == []
        await opened.write([message(0)])
        assert opened.durable
        await opened.close()
        assert len(await Clock().open(tmp_path).open()) == 1
        assert bool(list(tmp_path.glob("*.damaged-*"))) == bool(damage) == ("is damaged" in caplog.text)

    asyncio.run(talk())


def test_a_folder_that_cannot_be_used_costs_durability_only(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def talk() -> None:
        (tmp_path / "file").write_text("in the way")
        clock = Clock()
        opened = clock.open(tmp_path / "file" / "box")
        assert await opened.open() == []
        for number in range(3):
            await opened.write([message(number)])
        assert not opened.durable
        assert opened.unsaved == 3
        assert caplog.text.count("cannot be written") == 1
        (tmp_path / "file").unlink()
        clock.now_s += journal.AGAIN_S
        await opened.write(obsolete=[message(1)])
        assert opened.durable
        assert opened.unsaved == 0
        assert "on disk again" in caplog.text
        await opened.close()
        assert len(await clock.open(tmp_path / "file" / "box").open()) == 2

    caplog.set_level(logging.WARNING)
    asyncio.run(talk())


def test_a_full_disk_costs_durability_only(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """SQLite itself refuses to grow, with the error of a full disk."""

    async def talk() -> None:
        clock = Clock()
        opened = clock.open(tmp_path)
        await opened.open()
        assert opened._thread is not None
        await opened._run(lambda: opened._database.execute("PRAGMA max_page_count=4"))  # type: ignore[union-attr]
        big = [Message("turn", "x" * 5_000, rolling=False, number=number, told_s=100.0) for number in range(20)]
        for one in big:
            await opened.write([one])
        assert not opened.durable
        assert opened.unsaved > 10
        assert "database or disk is full" in caplog.text
        clock.now_s += journal.AGAIN_S  # the reopened file has room again
        await opened.write()
        await opened.write([message(20)])
        assert opened.durable
        await opened.close()
        assert len(await clock.open(tmp_path).open()) == 21

    asyncio.run(talk())


def test_a_journal_without_a_folder_keeps_nothing() -> None:
    async def talk() -> None:
        nowhere = Journal(folder=None, name=NAME, clock=lambda: 0.0)
        assert await nowhere.open() == []
        await nowhere.write([message(0)])
        assert not nowhere.durable
        await nowhere.close()

    asyncio.run(talk())


def test_where_state_belongs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("STATE_DIRECTORY", raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert state_folder("") is None
    assert state_folder("/x") == Path("/x")
    assert state_folder("auto") == tmp_path / "tonewatch"
    monkeypatch.setenv("STATE_DIRECTORY", "/var/lib/tonewatch:/other")
    assert state_folder("auto") == Path("/var/lib/tonewatch")


WRITER = """
import asyncio, sys
from pathlib import Path
from stream.sinks.mqtt.journal import Journal
from stream.sinks.mqtt.outbox import Message
async def main():
    journal = Journal(folder=Path(sys.argv[1]), name="outbox-kitchen", clock=lambda: 0.0)
    found = await journal.open()
    number = int(sys.argv[2])
    for place, message in enumerate(found):
        if place % 3 == 0:
            journal.retire(message)
            print("done", message.payload, flush=True)
    while True:
        first = 1_000_000 + number
        await journal.write([Message("turn", str(number + k), rolling=False, number=first + k) for k in range(3)])
        for k in range(3):
            print("kept", number + k, flush=True)
        number += 3
asyncio.run(main())
"""


def test_killed_at_any_moment_it_owes_all_that_was_accepted(tmp_path: Path) -> None:
    kept: list[int] = []
    done: set[int] = set()
    chance = random.Random(6)
    for _ in range(5):
        words = [sys.executable, "-c", WRITER, str(tmp_path), str(len(kept) + 100 * len(kept))]
        with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            for _ in range(chance.randrange(1, 400)):
                verb, number = process.stdout.readline().split()
                (kept.append if verb == "kept" else done.add)(int(number))
            process.send_signal(signal.SIGKILL)
            for line in process.stdout.read().splitlines():
                verb, _, number = line.partition(" ")
                if number.isdigit():
                    (kept.append if verb == "kept" else done.add)(int(number))
    with closing(sqlite3.connect(tmp_path / f"{NAME}.sqlite")) as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        owed = [int(payload) for (payload,) in database.execute("SELECT payload FROM owed ORDER BY number")]
    assert set(kept) - done <= set(owed), "what was accepted and not acknowledged is owed"
    first_seen = [number for number in owed if number in set(kept)]
    assert first_seen == sorted(first_seen, key=kept.index), "in the order of acceptance"


@settings(max_examples=40, deadline=None)
@given(script=st.lists(st.sampled_from(["put", "take", "ack", "refuse", "lose", "restart", "age"]), max_size=40))
def test_outbox_and_journal_together_lose_nothing(script: list[str], tmp_path_factory: pytest.TempPathFactory) -> None:
    """Whatever happens: each event put is acknowledged, refused, dropped, or still owed, and first seen in order."""
    folder = tmp_path_factory.mktemp("box")

    async def talk() -> None:
        clock = Clock(now_s=0.0)
        box, kept = Outbox(capacity=8, age_s=50.0), clock.open(folder)
        box.restore(await kept.open())
        put, gone, seen, flying = [], [], [], []
        for number, step in enumerate(script):
            if step == "put":
                fresh, dropped = box.put("turn", str(number), now_s=clock.now_s)
                put.append(fresh.payload)
                gone += [one.payload for one in dropped]
                await kept.write([fresh], obsolete=dropped)
            elif step == "take" and (taken := box.take(now_s=clock.now_s)) is not None:
                flying.append(taken)
            elif step in ("ack", "refuse") and flying:
                one = flying.pop(0)
                seen.append(one.payload)
                (box.acknowledge if step == "ack" else box.refuse)(one)
                kept.retire(one)
            elif step == "lose":
                flying.clear()
                box.rewind()
            elif step == "age":
                clock.now_s += 20
                clock.today_s += 20
                dropped = box.expire(now_s=clock.now_s)
                gone += [one.payload for one in dropped]
                await kept.write(obsolete=dropped)
            elif step == "restart":
                flying.clear()
                await kept.close()
                box, kept = Outbox(capacity=8, age_s=50.0), clock.open(folder)
                gone += [one.payload for one in box.restore(await kept.open())]
        owed = [one.payload for one in iter(lambda: box.take(now_s=clock.now_s), None) if one not in flying]
        owed = [one.payload for one in flying if one.payload not in seen] + owed
        assert set(put) == set(seen) | set(gone) | set(owed)
        firsts = list(dict.fromkeys(seen))
        assert firsts == sorted(firsts, key=put.index)
        await kept.close()

    asyncio.run(talk())
