"""Event lines on standard output and in files: complete, in order, and refused with one sentence."""

from __future__ import annotations

import asyncio
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from stream.errors import SettingsError, SinkError
from stream.events import Event, from_json
from stream.sinks.file import FileSink
from stream.sinks.lines import LineWriter
from tests.support import examples


async def write(target: str, events: list[Event]) -> None:
    async with FileSink(target=target) as sink:
        for event in events:
            await sink.send(event)


@pytest.mark.parametrize("prefix", ["", "file:"])
def test_events_are_appended_in_order(tmp_path: Path, prefix: str) -> None:
    path = tmp_path / "events.ndjson"
    events = [examples.event(examples.turn(number), seq=number) for number in range(5)]
    asyncio.run(write(f"{prefix}{path}", events[:3]))
    asyncio.run(write(f"{prefix}{path}", events[3:]))
    assert [from_json(line) for line in path.read_text().splitlines()] == events
    assert path.stat().st_mode & 0o077 == 0, "others cannot read the events"


def test_an_incomplete_last_line_damages_no_other(tmp_path: Path) -> None:
    path = tmp_path / "events.ndjson"
    path.write_text('{"schema":2,"id"')
    event = examples.event(examples.emotion())
    asyncio.run(write(str(path), [event]))
    incomplete, complete = path.read_text().splitlines()
    assert incomplete == '{"schema":2,"id"'
    assert from_json(complete) == event


@pytest.mark.parametrize(
    ("target", "sentence"),
    [
        ("/no/such/folder/x.ndjson", "no folder"),
        ("file:/dev", "cannot open"),
    ],
)
def test_an_unwritable_file_is_refused_with_the_reason(target: str, sentence: str) -> None:
    with pytest.raises(SinkError, match=sentence):
        asyncio.run(write(target, [examples.event(examples.health(), source="node")]))


def test_a_file_sink_needs_a_file_name() -> None:
    with pytest.raises(SettingsError, match="names no file"):
        FileSink(target="file:")


def test_a_non_blocking_pipe_is_waited_for() -> None:
    async def check() -> None:
        writer = LineWriter(descriptor=write_end, name="the pipe")
        writing = asyncio.create_task(write_all(writer), name="writing")
        text = b""
        while text.count(b"\n") < len(events):
            text += await asyncio.to_thread(os.read, read_end, 4_096)
        await writing
        writer.close()
        assert [from_json(line) for line in text.splitlines()] == events

    async def write_all(writer: LineWriter) -> None:
        for event in events:
            await writer.write(event)

    events = [examples.event(examples.turn(number), seq=number) for number in range(500)]  # more than a pipe holds
    read_end, write_end = os.pipe()
    os.set_blocking(write_end, False)
    try:
        asyncio.run(check())
    finally:
        os.close(read_end)
        os.close(write_end)


def test_a_full_disk_drops_events_and_does_not_end_the_run(caplog: pytest.LogCaptureFixture) -> None:
    async def check() -> None:
        async with FileSink(target="file:/dev/full") as out:
            for number in range(5):
                await out.send(examples.event(examples.turn(number), seq=number))
            assert out.counters().dropped == 5
        assert caplog.text.count("No space left on device; free disk space") == 1
        assert "5 events dropped, disk full" in caplog.text

    caplog.set_level(logging.WARNING)
    asyncio.run(check())


@pytest.mark.slow
def test_a_partly_written_line_is_terminated_before_the_next(tmp_path: Path) -> None:
    """In a process whose file size limit is 700 bytes, then raised: as when a disk is full and space is freed."""
    code = """
import asyncio, resource, signal, sys
from stream.sinks.file import FileSink
from tests.support import examples
async def main():
    async with FileSink(target="file:" + sys.argv[1]) as out:
        for number in range(9):
            if number == 6:
                resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
            await out.send(examples.event(examples.turn(number), seq=number))
        print(out.counters().dropped)
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (700, resource.RLIM_INFINITY))
asyncio.run(main())
"""
    file = tmp_path / "events.ndjson"
    done = subprocess.run(
        [sys.executable, "-c", code, str(file)],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
    )
    complete, damaged = [], 0
    for line in file.read_bytes().splitlines():
        try:
            complete.append(from_json(line).seq)
        except ValidationError:
            damaged += 1
    dropped = int(done.stdout)
    assert damaged == 1
    assert complete == [*range(6 - dropped), 6, 7, 8]
    assert dropped in range(1, 6)
    assert "File too large" in done.stderr
    assert "writable again" in done.stderr
