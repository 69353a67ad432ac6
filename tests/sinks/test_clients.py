"""Subscriptions of network clients."""

from __future__ import annotations

import asyncio

from stream.events import Event
from stream.sinks.clients import MAX_QUEUED_EVENTS, ClientsSink
from tests.support import examples


def test_a_subscription_gets_its_own_events_up_to_the_last() -> None:
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


def test_a_slow_client_gets_the_newest_state_within_the_bound() -> None:
    async def check() -> list[Event]:
        sink = ClientsSink()
        slow = sink.subscribe("room", is_call=False)
        for number in range(3 * MAX_QUEUED_EVENTS):
            await sink.send(examples.event(examples.emotion(end_s=3.0 + number), source="room", seq=number))
        await sink.send(examples.event(examples.stream("ended"), source="room", seq=number + 1))
        return [event async for event in slow]

    events = asyncio.run(check())
    assert len(events) <= MAX_QUEUED_EVENTS
    assert [event.seq for event in events[-2:]] == [3 * MAX_QUEUED_EVENTS - 1, 3 * MAX_QUEUED_EVENTS]


def test_a_removed_subscription_gets_no_more_events() -> None:
    async def check() -> list[Event]:
        async with ClientsSink() as sink:
            removed, active = sink.subscribe("room", is_call=False), sink.subscribe("room", is_call=False)
            sink.unsubscribe(removed)
            await sink.send(examples.event(examples.turn(1), source="room"))
            sink.unsubscribe(removed)
        return [event async for event in active]

    assert len(asyncio.run(check())) == 1
