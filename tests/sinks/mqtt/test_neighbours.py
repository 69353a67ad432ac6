"""Speaker events of other nodes at the broker."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from stream import events
from stream.events import Event
from stream.sinks.mqtt.connection import IncomingMessage
from stream.sinks.mqtt.neighbours import Neighbours
from stream.sinks.mqtt.presence import payload
from tests.support import examples
from tests.support.mosquitto import Broker
from tests.support.mqtt import mqtt_sink, subscriber
from tests.support.waiting import wait_until


def message(topic: str, text: bytes, *, retain: bool = False) -> IncomingMessage:
    """Return a message as the client library gives it."""
    return IncomingMessage(topic=topic, payload=text, qos=0, retain=retain, mid=1, properties=None)


EVENT = examples.event(examples.speaker("Alice", enrolled=True), source="up/stairs")
TEXT = events.to_json(EVENT).encode()
TOPIC = "home/node two/up%2Fstairs/speaker"


@pytest.fixture
def received() -> list[tuple[str, Event]]:
    return []


@pytest.fixture
def neighbours(received: list[tuple[str, Event]]) -> Neighbours:
    one = Neighbours(prefix="home", node="here")
    one.attach(lambda node, event: received.append((node, event)))
    return one


def test_without_arbitration_there_is_nothing_to_subscribe_to() -> None:
    one = Neighbours(prefix="home", node="here")
    assert one.topic == ""
    assert not one.receive(message(TOPIC, TEXT))


@pytest.mark.parametrize("form", ["native", "cloudevents"])
def test_events_of_other_nodes_are_taken(neighbours: Neighbours, received: list[tuple[str, Event]], form: str) -> None:
    assert neighbours.topic == "home/+/+/speaker"
    text = payload(EVENT, form, node="node two")  # type: ignore[arg-type]
    assert neighbours.receive(message(TOPIC, text.encode()))
    assert received == [("node two", EVENT)]


@pytest.mark.parametrize(
    "incoming",
    [
        message(TOPIC, TEXT, retain=True),
        message("home/here/up%2Fstairs/speaker", TEXT),
        message("home/node two/kitchen/speaker", TEXT),
        message(TOPIC, b"{"),
        message(TOPIC, b'{"specversion":1}'),
        message(TOPIC, b'{"specversion"' + b"[" * 50_000),
        message(TOPIC, b"x" * 100_000),
        message(TOPIC, events.to_json(examples.event(examples.turn(1), source="up/stairs")).encode()),
    ],
    ids=["retained", "own", "another source", "no JSON", "no data", "nested", "long", "another type"],
)
def test_whatever_else_comes_is_left_out(
    neighbours: Neighbours, received: list[tuple[str, Event]], incoming: IncomingMessage
) -> None:
    assert neighbours.receive(incoming)
    assert received == []


@pytest.mark.parametrize("topic", ["home/here/command", "ha/status", "away/two/hall/speaker", "home/a/b/c/speaker"])
def test_other_topics_are_not_theirs(neighbours: Neighbours, topic: str) -> None:
    assert not neighbours.receive(message(topic, json.dumps({}).encode()))


@pytest.mark.slow
def test_a_node_gets_the_speaker_events_of_another_one_at_the_broker(tmp_path: Path) -> None:
    async def check() -> None:
        received: list[tuple[str, Event]] = []
        here, there = mqtt_sink(broker.port), mqtt_sink(broker.port, node="node2")
        here.attach_neighbours(lambda node, event: received.append((node, event)))
        async with subscriber(broker.port) as seen, here, there:
            await seen.until(lambda: seen.payloads("home/kitchen/availability") == ["online"])
            await here.send(EVENT)
            await there.send(EVENT)
            await wait_until(lambda: received)
            await here.send(examples.event(examples.rooms(), source=events.NODE))
            await seen.until(lambda: bool(seen.payloads("home/kitchen/rooms")))
        assert received == [("node2", EVENT)], "its own come back and are left out"
        async with subscriber(broker.port) as late:
            await late.until(lambda: bool(late.payloads("home/kitchen/rooms")))

    with Broker(tmp_path) as broker:
        asyncio.run(check())
