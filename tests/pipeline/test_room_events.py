"""Rooms events of a run: from its own speaker events, and from those of other nodes."""

from __future__ import annotations

import asyncio
from typing import Any

from stream.events import Event, RoomsBody
from stream.pipeline.room_events import MAX_LEVELS, MAX_PEOPLE, MAX_REMOTE, RoomsSink
from stream.settings import Settings
from stream.tracking.room_arbiter import STALE_S
from tests.support import examples


class Clock:
    """A clock that stands still until it is set."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def sink(clock: Clock, **rooms: Any) -> RoomsSink:
    settings = Settings.model_validate({"node": "here", "rooms": {"enabled": True, **rooms}})
    return RoomsSink(settings=settings, clock=clock)


def speaks(source: str, level_dbfs: float | None, name: str = "Alice") -> Event:
    """Return an event of a stream that receives an enrolled person."""
    body = examples.speaker(name, enrolled=True).model_copy(update={"level_dbfs": level_dbfs})
    return examples.event(body, source=source)


def feed(one: RoomsSink, event: Event) -> None:
    asyncio.run(one.send(event))


def places(body: RoomsBody | None) -> list[tuple[str | None, str, str]]:
    assert body is not None
    return [(one.speaker, one.node, one.source) for one in body.people]


def test_a_person_is_in_the_loudest_room_whichever_node_it_is_of() -> None:
    clock = Clock()
    one = sink(clock)
    feed(one, speaks("kitchen", -35.0))
    assert places(one.body()) == [("Alice", "here", "kitchen")]
    assert one.body() is None, "nothing has changed"
    one.observe_remote("upstairs", speaks("hall", -20.0))
    body = one.body()
    assert places(body) == [("Alice", "upstairs", "hall")]
    assert body is not None
    assert [(level.node, level.source) for level in body.people[0].levels] == [
        ("upstairs", "hall"),
        ("here", "kitchen"),
    ]
    clock.now_s += STALE_S + 1
    assert places(one.body()) == [], "neither reports any more"


def test_silence_the_end_of_a_stream_and_calls_leave_nobody() -> None:
    one = sink(Clock())
    feed(one, speaks("kitchen", -35.0))
    one.body()
    feed(one, examples.event(examples.stream("ended"), source="kitchen"))
    assert places(one.body()) == []
    feed(one, speaks("kitchen", None))
    feed(one, examples.event(examples.speaker("Alice", enrolled=True), source="desk", call="desk"))
    one.observe_remote("upstairs", examples.event(examples.speaker("Alice", enrolled=True), source="desk", call="desk"))
    assert one.body() is None, "no level, and a call is no room"


def test_streams_of_other_nodes_and_the_event_are_bounded() -> None:
    one = sink(Clock())
    for number in range(MAX_REMOTE + 5):
        one.observe_remote("upstairs", speaks(f"room{number}", -30.0 + number / 100, f"P{number:03d}"))
    body = one.body()
    assert body is not None
    assert len(body.people) == MAX_PEOPLE
    for number in range(MAX_REMOTE + 5):
        one.observe_remote("upstairs", speaks(f"room{number}", -30.0 + number / 100))
    body = one.body()
    assert body is not None
    assert body.people[0].source == f"room{MAX_REMOTE - 1}", "streams beyond the limit are not followed"
    assert len(body.people[0].levels) == MAX_LEVELS


def test_changes_are_published_at_once_and_not_after_the_end() -> None:
    async def run() -> None:
        published: asyncio.Queue[RoomsBody] = asyncio.Queue()
        one = sink(Clock(), offset_db={"hall": 30.0})
        one.attach_publisher(published.put)
        async with one:
            await one.send(speaks("kitchen", -35.0))
            await one.send(speaks("hall", -20.0))
            body = await asyncio.wait_for(published.get(), 5)
            assert places(body) == [("Alice", "here", "kitchen")], "the hall's microphone is 30 dB louder"
        await one.send(speaks("attic", -10.0))
        assert published.empty()

    asyncio.run(run())
