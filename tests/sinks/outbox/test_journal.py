"""The journal: written messages survive the process, a full disk and damage."""

from __future__ import annotations

import asyncio
import logging
import random
import resource
import signal
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.sinks.outbox.files import state_folder
from stream.sinks.outbox.journal import RETRY_S, Journal
from stream.sinks.outbox.messages import Message, Outbox
from tests.sinks.outbox.journals import NAME, Clock, message

pytestmark = pytest.mark.slow


def test_messages_are_read_back_in_order(tmp_path: Path) -> None:
    async def check() -> None:
        clock = Clock()
        first = clock.open(tmp_path)
        assert await first.open() == []
        await first.write([message(number) for number in range(5)])
        await first.write(obsolete=[message(0), message(2)])
        assert first.mark_acknowledged(message(1)) == 1
        await first.close()
        second = Clock(now_s=7.0, wall_s=clock.wall_s + 60).open(tmp_path)
        found = await second.open()
        assert [m.payload for m in found] == ['{"id":"3"}', '{"id":"4"}']
        assert [m.number for m in found] == [0, 1]
        assert [m.added_s for m in found] == [-53.0, -53.0], "a minute old on the new clock"
        await second.write(obsolete=found)
        await second.close()
        assert not list(tmp_path.iterdir()), "no message is left"

    asyncio.run(check())


@pytest.mark.parametrize(
    ("written_wall_s", "read_wall_s", "age_s"),
    [(1_800_000_000.0, 1_800_000_500.0, 500), (1_800_000_000.0, 1_700_000_000.0, 0), (100.0, 1_800_000_000.0, 0)],
    ids=["later", "set back", "never set before"],
)
def test_an_unset_clock_makes_no_message_old(
    tmp_path: Path, written_wall_s: float, read_wall_s: float, age_s: float
) -> None:
    async def check() -> None:
        first = Clock(wall_s=written_wall_s).open(tmp_path)
        await first.open()
        await first.write([message(0)])
        await first.close()
        second = Clock(now_s=0.0, wall_s=read_wall_s).open(tmp_path)
        (found,) = await second.open()
        assert found.added_s == -age_s
        await second.close()

    asyncio.run(check())


def test_two_processes_use_two_files_and_the_next_adopts_both(tmp_path: Path) -> None:
    async def check() -> None:
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

    asyncio.run(check())


@pytest.mark.parametrize("damage", [b"this is not a database " * 400, b"", b"SQLite format 3\x00" + bytes(5_000)])
def test_a_damaged_file_is_renamed_and_logged(tmp_path: Path, damage: bytes, caplog: pytest.LogCaptureFixture) -> None:
    async def check() -> None:
        (tmp_path / f"{NAME}.sqlite").write_bytes(damage)
        journal = Clock().open(tmp_path)
        assert await journal.open() == []
        await journal.write([message(0)])
        assert journal.durable
        await journal.close()
        assert len(await Clock().open(tmp_path).open()) == 1
        assert bool(list(tmp_path.glob("*.damaged-*"))) == bool(damage) == ("is damaged" in caplog.text)

    asyncio.run(check())


def test_an_unusable_folder_costs_durability_only(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def check() -> None:
        (tmp_path / "file").write_text("not a folder")
        clock = Clock()
        journal = clock.open(tmp_path / "file" / "box")
        assert await journal.open() == []
        for number in range(3):
            await journal.write([message(number)])
        assert not journal.durable
        assert journal.not_persisted == 3
        assert caplog.text.count("cannot write the outbox") == 1
        (tmp_path / "file").unlink()
        clock.now_s += RETRY_S
        await journal.write(obsolete=[message(1)])
        assert journal.durable
        assert journal.not_persisted == 0
        assert "writable again" in caplog.text
        await journal.close()
        assert len(await clock.open(tmp_path / "file" / "box").open()) == 2

    caplog.set_level(logging.WARNING)
    asyncio.run(check())


def test_a_full_disk_costs_durability_only(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """SQLite refuses to grow the file, with the error of a full disk."""

    async def check() -> None:
        clock = Clock()
        journal = clock.open(tmp_path)
        await journal.open()
        assert journal._thread is not None
        await journal._run(lambda: journal._database.execute("PRAGMA max_page_count=4"))  # type: ignore[union-attr]
        large = [Message("turn", "x" * 5_000, rolling=False, number=number, added_s=100.0) for number in range(20)]
        for entry in large:
            await journal.write([entry])
        assert not journal.durable
        assert journal.not_persisted > 10
        assert "database or disk is full" in caplog.text
        clock.now_s += RETRY_S  # the reopened file can grow again
        await journal.write()
        await journal.write([message(20)])
        assert journal.durable
        await journal.close()
        assert len(await clock.open(tmp_path).open()) == 21

    asyncio.run(check())


def test_a_start_on_a_full_disk_leaves_no_files_and_recovers(tmp_path: Path) -> None:
    """It left an empty file in each of sixteen slots: none was unused once there was space, until the next start."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    async def check() -> None:
        clock = Clock()
        journal = clock.open(tmp_path)
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
        try:
            assert await journal.open() == []
            for number in range(3):
                clock.now_s += RETRY_S
                await journal.write([message(number)])
            assert not list(tmp_path.iterdir())
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        clock.now_s += RETRY_S
        await journal.write([message(3)])
        assert [file.name for file in tmp_path.glob("*.sqlite")] == [f"{NAME}.sqlite"]
        await journal.close()

    asyncio.run(check())


def test_a_journal_without_a_folder_writes_nothing() -> None:
    async def check() -> None:
        journal = Journal(folder=None, name=NAME, clock=lambda: 0.0)
        assert await journal.open() == []
        await journal.write([message(0)])
        assert not journal.durable
        await journal.close()

    asyncio.run(check())


def test_state_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
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
from stream.sinks.outbox.journal import Journal
from stream.sinks.outbox.messages import Message
async def main():
    journal = Journal(folder=Path(sys.argv[1]), name="outbox-kitchen", clock=lambda: 0.0)
    found = await journal.open()
    number = int(sys.argv[2])
    for position, message in enumerate(found):
        if position % 3 == 0:
            journal.mark_acknowledged(message)
            print("acknowledged", message.payload, flush=True)
    while True:
        first = 1_000_000 + number
        await journal.write([Message("turn", str(number + k), rolling=False, number=first + k) for k in range(3)])
        for k in range(3):
            print("written", number + k, flush=True)
        number += 3
asyncio.run(main())
"""


@pytest.mark.long
def test_messages_survive_a_kill_at_any_moment(tmp_path: Path) -> None:
    written: list[int] = []
    acknowledged: set[int] = set()
    chance = random.Random(6)

    def record(line: str) -> None:
        kind, _, number = line.partition(" ")
        if number.strip().isdigit():  # the last line may be incomplete
            (written.append if kind == "written" else acknowledged.add)(int(number))

    for round_number in range(5):  # each round has a range of numbers of its own, also when it writes none
        command = [sys.executable, "-c", WRITER, str(tmp_path), str(round_number * 100_000)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            for _ in range(chance.randrange(1, 400)):
                record(process.stdout.readline())
            process.send_signal(signal.SIGKILL)
            for line in process.stdout.read().splitlines():
                record(line)
    with closing(sqlite3.connect(tmp_path / f"{NAME}.sqlite")) as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        stored = [int(payload) for (payload,) in database.execute("SELECT payload FROM pending ORDER BY number")]
    assert set(written) - acknowledged <= set(stored), "written messages are stored until they are acknowledged"
    reported = [number for number in stored if number in set(written)]
    assert reported == sorted(reported, key=written.index), "in the order in which they were written"


def test_a_cancelled_write_is_completed(tmp_path: Path) -> None:
    async def check() -> None:
        journal = Clock().open(tmp_path)
        await journal.open()
        await journal.write([message(0)])
        journal.mark_acknowledged(message(0))
        released = threading.Event()
        assert journal._thread is not None
        journal._thread.submit(released.wait)  # the next write waits in the thread's queue
        writing = asyncio.create_task(journal.write(), name="writing")
        await asyncio.sleep(0)
        writing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await writing
        released.set()
        await journal.close()
        assert not list(tmp_path.iterdir())

    asyncio.run(check())


@settings(max_examples=40, deadline=None)
@given(script=st.lists(st.sampled_from(["put", "take", "ack", "refuse", "lose", "restart", "age"]), max_size=40))
def test_outbox_and_journal_together_lose_no_event(script: list[str], tmp_path_factory: pytest.TempPathFactory) -> None:
    """Each event is acknowledged, refused, dropped or pending, and is first published in order."""
    folder = tmp_path_factory.mktemp("box")

    async def check() -> None:
        clock = Clock(now_s=0.0)
        outbox, journal = Outbox(capacity=8, max_age_s=50.0), clock.open(folder)
        outbox.restore(await journal.open())
        put, lost, published, in_flight = [], [], [], []
        for number, step in enumerate(script):
            if step == "put":
                new, dropped = outbox.put("turn", str(number), now_s=clock.now_s)
                put.append(new.payload)
                lost += [entry.payload for entry in dropped]
                await journal.write([new], obsolete=dropped)
            elif step == "take" and (taken := outbox.take(now_s=clock.now_s)) is not None:
                in_flight.append(taken)
            elif step in ("ack", "refuse") and in_flight:
                entry = in_flight.pop(0)
                published.append(entry.payload)
                (outbox.acknowledge if step == "ack" else outbox.refuse)(entry)
                journal.mark_acknowledged(entry)
            elif step == "lose":
                in_flight.clear()
                outbox.requeue_unacknowledged()
            elif step == "age":
                clock.now_s += 20
                clock.wall_s += 20
                dropped = outbox.expire(now_s=clock.now_s)
                lost += [entry.payload for entry in dropped]
                await journal.write(obsolete=dropped)
            elif step == "restart":
                in_flight.clear()
                await journal.close()
                outbox, journal = Outbox(capacity=8, max_age_s=50.0), clock.open(folder)
                lost += [entry.payload for entry in outbox.restore(await journal.open())]
        pending = [entry.payload for entry in in_flight if entry.payload not in published]
        pending += [m.payload for m in iter(lambda: outbox.take(now_s=clock.now_s), None) if m not in in_flight]
        assert set(put) == set(published) | set(lost) | set(pending)
        first_published = list(dict.fromkeys(published))
        assert first_published == sorted(first_published, key=put.index)
        await journal.close()

    asyncio.run(check())
