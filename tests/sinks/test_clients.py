"""Events back to those who brought the sound."""

from __future__ import annotations

import asyncio

from stream.events import Event
from stream.sinks.clients import QUEUE_EVENTS, ClientsSink
from tests.sinks import examples


def test_everybody_gets_his_own_until_the_last_word() -> None:
    async def check() -> tuple[list[Event], list[Event]]:
        sink = ClientsSink()
        call, stream = sink.subscribe("desk", is_call=True), sink.subscribe("room", is_call=False)
        sent = [
            examples.event(examples.turn(1), source="desk-agent", call="desk", party="agent"),
            examples.event(examples.stream("ended"), source="desk-agent", call="desk", party="agent"),
            examples.event(examples.turn(1), source="room"),
            examples.event(examples.call("final"), source="desk", call="desk"),
            examples.event(examples.stream("ended"), source="room"),
            examples.event(examples.turn(2), source="room"),
        ]
        for event in sent:
            await sink.send(event)
        return [event async for event in call], [event async for event in stream]

    call, stream = asyncio.run(check())
    assert [event.type for event in call] == ["turn", "stream", "call"]
    assert [event.type for event in stream] == ["turn", "stream"]


def test_who_does_not_read_gets_the_newest_state_and_bounds_the_rest() -> None:
    async def check() -> list[Event]:
        sink = ClientsSink()
        slow = sink.subscribe("room", is_call=False)
        for number in range(3 * QUEUE_EVENTS):
            await sink.send(examples.event(examples.emotion(end_s=3.0 + number), source="room", seq=number))
        await sink.send(examples.event(examples.stream("ended"), source="room", seq=number + 1))
        return [event async for event in slow]

    events = asyncio.run(check())
    assert len(events) <= QUEUE_EVENTS
    assert [event.seq for event in events[-2:]] == [3 * QUEUE_EVENTS - 1, 3 * QUEUE_EVENTS]


def test_who_has_left_is_forgotten() -> None:
    async def check() -> list[Event]:
        async with ClientsSink() as sink:
            gone, there = sink.subscribe("room", is_call=False), sink.subscribe("room", is_call=False)
            sink.leave(gone)
            await sink.send(examples.event(examples.turn(1), source="room"))
            sink.leave(gone)
        return [event async for event in there]

    assert len(asyncio.run(check())) == 1
