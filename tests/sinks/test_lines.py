"""Lines on standard output and in files: whole, in order, and refused with a sentence."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

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
        ("file:/dev/full", "No space"),
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
