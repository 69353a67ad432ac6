"""Lines on standard output and in files: whole, in order, and refused with a sentence."""

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
from tests.sinks import examples


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
    assert path.stat().st_mode & 0o077 == 0, "others may not read who spoke"


def test_a_line_left_half_written_spoils_only_itself(tmp_path: Path) -> None:
    path = tmp_path / "events.ndjson"
    path.write_text('{"schema":1,"id"')
    event = examples.event(examples.emotion())
    asyncio.run(write(str(path), [event]))
    half, whole = path.read_text().splitlines()
    assert half == '{"schema":1,"id"'
    assert from_json(whole) == event


@pytest.mark.parametrize(
    ("target", "sentence"),
    [
        ("/no/such/folder/x.ndjson", "there is no folder"),
        ("file:/dev", "cannot be opened"),
    ],
)
def test_what_cannot_be_written_says_why(target: str, sentence: str) -> None:
    with pytest.raises(SinkError, match=sentence):
        asyncio.run(write(target, [examples.event(examples.health(), source="node")]))


def test_a_sink_needs_a_name() -> None:
    with pytest.raises(SettingsError, match="names no file"):
        FileSink(target="file:")


def test_a_pipe_that_somebody_made_non_blocking_is_waited_for() -> None:
    async def talk() -> None:
        writer = LineWriter(descriptor=into, name="the pipe")
        writing = asyncio.create_task(write_all(writer), name="writing")
        text = b""
        while text.count(b"\n") < len(events):
            text += await asyncio.to_thread(os.read, outof, 4_096)
        await writing
        writer.close()
        assert [from_json(line) for line in text.splitlines()] == events

    async def write_all(writer: LineWriter) -> None:
        for event in events:
            await writer.write(event)

    events = [examples.event(examples.turn(number), seq=number) for number in range(500)]  # more than a pipe holds
    outof, into = os.pipe()
    os.set_blocking(into, False)
    try:
        asyncio.run(talk())
    finally:
        os.close(outof)
        os.close(into)


def test_a_full_disk_costs_events_and_not_the_run(caplog: pytest.LogCaptureFixture) -> None:
    async def talk() -> None:
        async with FileSink(target="file:/dev/full") as out:
            for number in range(5):
                await out.send(examples.event(examples.turn(number), seq=number))
            assert out.account().dropped == 5
        assert caplog.text.count("No space left on device; make room") == 1
        assert "lacks 5 events" in caplog.text

    caplog.set_level(logging.WARNING)
    asyncio.run(talk())


def test_a_line_that_fitted_in_part_is_closed_before_the_next(tmp_path: Path) -> None:
    """In a process that may write 700 bytes and no more, then some more: as when a disk fills and is cleared."""
    code = """
import asyncio, resource, signal, sys
from stream.sinks.file import FileSink
from tests.sinks import examples
async def main():
    async with FileSink(target="file:" + sys.argv[1]) as out:
        for number in range(9):
            if number == 6:
                resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
            await out.send(examples.event(examples.turn(number), seq=number))
        print(out.account().dropped)
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
    whole, torn = [], 0
    for line in file.read_bytes().splitlines():
        try:
            whole.append(from_json(line).seq)
        except ValidationError:
            torn += 1
    dropped = int(done.stdout)
    assert torn == 1
    assert whole == [*range(6 - dropped), 6, 7, 8]
    assert dropped in range(1, 6)
    assert "File too large" in done.stderr
    assert "takes events again" in done.stderr
