"""Lines on standard output and in files: whole, in order, and refused with a sentence."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from stream.errors import SettingsError, SinkError
from stream.events import Event, from_json
from stream.sinks.file import FileSink
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
