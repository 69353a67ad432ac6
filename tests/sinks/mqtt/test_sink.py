"""The MQTT sink against a real mosquitto: order, retained state, losses, and what survives an outage."""

from __future__ import annotations

import asyncio
import json
import logging
import sqlite3
import sys
import time
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import aiomqtt
import pytest

from stream.errors import BrokerUnreachable
from stream.sinks.mqtt.sink import MqttSink
from tests.support import examples
from tests.support.mosquitto import Broker
from tests.support.mqtt import FAST_LIMITS, mqtt_sink, subscriber
from tests.support.small_models import TINY
from tests.support.waiting import wait_until

pytestmark = pytest.mark.slow

TURN, EMOTION, SPEAKER = (f"home/kitchen/room/{kind}" for kind in ("turn", "emotion", "speaker"))
AVAILABILITY, OUTBOX = "home/kitchen/availability", "home/kitchen/outbox"


class ShiftedClock:
    """A monotonic clock that a test can advance."""

    def __init__(self) -> None:
        self.shift_s = 0.0

    def __call__(self) -> float:
        return time.monotonic() + self.shift_s


def event_ids(payloads: list[str]) -> list[str]:
    return [json.loads(payload)["id"] for payload in payloads]


@pytest.mark.parametrize("qos", [0, 1, 2])
def test_events_arrive_in_order_and_state_is_retained(tmp_path: Path, qos: int) -> None:
    async def check() -> None:
        async with subscriber(broker.port) as received:
            async with mqtt_sink(broker.port, qos=qos) as sink:
                await sink.send(examples.event(examples.stream("started")))
                for number in range(50):
                    await sink.send(examples.event(examples.turn(number), seq=number))
                await sink.send(examples.event(examples.emotion("happy")))
                await sink.send(examples.event(examples.speaker("S1")))
                await received.until(lambda: len(received.payloads(TURN)) == 50)
            await received.until(lambda: received.payloads(AVAILABILITY) == ["online", "offline"])
            turns = [json.loads(payload)["turn"] for payload in received.payloads(TURN)]
            assert turns == [f"t{number}" for number in range(50)]
            assert json.loads(received.payloads("home/kitchen/info")[0])["schema"] == 2
        async with subscriber(broker.port) as late:
            await late.until(lambda: bool(late.payloads(SPEAKER)))
            assert late.payloads(AVAILABILITY) == ["offline"]
            assert json.loads(late.payloads(EMOTION)[0])["label"] == "happy"
            assert not late.payloads(TURN), "events are not state"

    with Broker(tmp_path) as broker:
        asyncio.run(check())


def test_the_next_run_takes_back_what_a_killed_one_left(tmp_path: Path) -> None:
    async def check() -> None:
        options = {"outbox": str(tmp_path / "box"), "discovery_prefix": "ha"}
        async with subscriber(broker.port) as received:
            settings = [f"mqtt.{key}={value}" for key, value in options.items()]
            arguments = ["-m", "stream", "demo", "--realtime", "--quiet", *TINY]
            arguments += [word for one in ("node=kitchen", *settings) for word in ("--set", one)]
            target = f"mqtt://127.0.0.1:{broker.port}/home"
            process = await asyncio.create_subprocess_exec(sys.executable, *arguments, "--sink", target)
            await received.until(lambda: bool(received.payloads("home/kitchen/demo/speaker")))
            process.kill()
            await process.wait()
        async with subscriber(broker.port) as left:
            topics = {str(message.topic) for message in received.messages}
            (device,) = (topic for topic in topics if "demo" in topic and topic.startswith("ha/"))
            retained = {device, *(f"home/kitchen/demo/{leaf}" for leaf in ("availability", "state", "speaker"))}
            await left.until(lambda: retained <= {str(message.topic) for message in left.messages if message.retain})
            async with mqtt_sink(broker.port, outbox=options["outbox"], discovery_prefix="ha") as sink:
                await sink.send(examples.event(examples.stream("started")))
                await left.until(lambda: "" in left.payloads("home/kitchen/demo/availability"))
                assert "" not in left.payloads(device), "its stream may return"
            await left.until(lambda: "" in left.payloads(device))
        async with subscriber(broker.port) as late:
            await late.until(lambda: bool(late.payloads("home/kitchen/room/state")))
            assert not any("demo" in str(message.topic) for message in late.messages)

    with Broker(tmp_path) as broker:
        asyncio.run(check())


def test_the_will_is_published_when_the_process_is_killed(tmp_path: Path) -> None:
    async def check() -> None:
        async with subscriber(broker.port) as received:
            arguments = ["-m", "stream", "demo", "--realtime", "--quiet", "--set", "node=kitchen", *TINY]
            target = f"mqtt://127.0.0.1:{broker.port}/home"
            process = await asyncio.create_subprocess_exec(sys.executable, *arguments, "--sink", target)
            await received.until(lambda: received.payloads(AVAILABILITY) == ["online"])
            process.kill()
            await received.until(lambda: received.payloads(AVAILABILITY) == ["online", "offline"])
            await process.wait()

    with Broker(tmp_path) as broker:
        asyncio.run(check())


def test_a_broker_that_starts_late_gets_every_event(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def check() -> None:
        async with mqtt_sink(broker.port) as sink:
            for number in range(5):
                await sink.send(examples.event(examples.turn(number), seq=number))
            await wait_until(lambda: "connection lost" in caplog.text)
            broker.start()
            await wait_until(lambda: sink.statistics().waiting == 0)
        assert sink.statistics().sent == 5
        assert caplog.text.count("connection lost") == 1

    caplog.set_level(logging.WARNING)
    broker = Broker(tmp_path)
    try:
        asyncio.run(check())
    finally:
        broker.kill()


def test_refused_messages_are_counted_and_logged_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def check() -> None:
        async with subscriber(broker.port) as received, mqtt_sink(broker.port) as sink:
            for number in range(5):
                await sink.send(examples.event(examples.turn(number), seq=number))
            await sink.send(examples.event(examples.speaker("S1")))
            await sink.send(examples.event(examples.emotion("happy")))
            await received.until(lambda: bool(received.payloads(SPEAKER)))
            await wait_until(lambda: sink.statistics().waiting == 0)
            await received.until(
                lambda: bool(received.payloads(OUTBOX)) and json.loads(received.payloads(OUTBOX)[-1])["refused"] == 6
            )
        counts = sink.statistics()
        assert (counts.refused, counts.dropped) == (6, 0), "five turns and an emotion"
        assert sink.counters().refused == 6
        assert not received.payloads(TURN)
        assert caplog.text.count("message on home/kitchen/room/turn set aside (Not authorized)") == 1

    rules = "topic readwrite #\ntopic deny home/kitchen/room/turn\ntopic deny home/kitchen/room/emotion\n"
    caplog.set_level(logging.WARNING)
    with Broker(tmp_path, rules=rules) as broker:
        asyncio.run(check())


def test_rolling_state_expires_during_an_outage(tmp_path: Path) -> None:
    async def check() -> None:
        clock = ShiftedClock()
        async with mqtt_sink(broker.port, clock=clock, expiry_s=60, reconnect_max_s=0.2) as sink:
            await sink.send(examples.event(examples.emotion("happy")))
            await sink.send(examples.event(examples.turn(1)))
            clock.shift_s += 40
            await sink.send(examples.event(examples.speaker("S1")))
            clock.shift_s += 30  # the emotion is 70 s old, the speaker 30 s
            broker.start()
            await wait_until(lambda: sink.statistics().waiting == 0)
            async with subscriber(broker.port) as late:
                await late.until(lambda: bool(late.payloads(SPEAKER)))
                assert not late.payloads(EMOTION)
                (message,) = [m for m in late.messages if str(m.topic) == SPEAKER]
                remaining_s = message.properties.MessageExpiryInterval  # type: ignore[union-attr]
                assert 20 <= remaining_s <= 30, "it counts from the time of the event"
        assert sink.statistics().expired == 1

    broker = Broker(tmp_path)
    try:
        asyncio.run(check())
    finally:
        broker.kill()


def test_two_sinks_of_one_node_work_side_by_side(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def check() -> None:
        async with subscriber(broker.port) as received, mqtt_sink(broker.port) as one, mqtt_sink(broker.port) as other:
            for number in range(10):
                await one.send(examples.event(examples.turn(number), seq=number, source="a"))
                await other.send(examples.event(examples.turn(number), seq=number, source="b"))
            await received.until(lambda: len(received.payloads("home/kitchen/a/turn")) == 10)
            await received.until(lambda: len(received.payloads("home/kitchen/b/turn")) == 10)
        assert not caplog.records

    caplog.set_level(logging.WARNING)
    with Broker(tmp_path) as broker:
        asyncio.run(check())


def test_undelivered_events_survive_the_process(tmp_path: Path) -> None:
    async def without_broker(first: int) -> None:
        with suppress(BrokerUnreachable):
            async with mqtt_sink(broker.port, limits=FAST_LIMITS, outbox=str(tmp_path / "box")) as sink:
                for number in range(first, first + 3):
                    await sink.send(examples.event(examples.turn(number), seq=number))
                await sink.send(examples.event(examples.emotion()))

    async def with_broker() -> None:
        async with subscriber(broker.port) as received, mqtt_sink(broker.port, outbox=str(tmp_path / "box")) as sink:
            await sink.send(examples.event(examples.turn(6), seq=6))
            await received.until(lambda: len(received.payloads(TURN)) == 7)
            assert event_ids(received.payloads(TURN)) == [f"s/room/{number}" for number in range(7)]
            assert not received.payloads(EMOTION), "rolling state of an earlier run is obsolete"

    broker = Broker(tmp_path)
    try:
        asyncio.run(without_broker(0))
        asyncio.run(without_broker(3))
        (file,) = (tmp_path / "box").glob("*.sqlite")
        assert file.stat().st_mode & 0o077 == 0, "only the owner can read events"
        with closing(sqlite3.connect(file)) as database:
            assert database.execute("SELECT count(*) FROM pending").fetchone() == (6,)
        broker.start()
        asyncio.run(with_broker())
        assert not list((tmp_path / "box").iterdir()), "an empty outbox leaves no file"
    finally:
        broker.kill()


def test_dropped_events_are_counted_and_published(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def check() -> None:
        async with mqtt_sink(broker.port, outbox=str(tmp_path / "box"), queue_events=3) as sink:
            for number in range(10):
                await sink.send(examples.event(examples.turn(number), seq=number))
            broker.start()
            await wait_until(lambda: sink.statistics().waiting == 0)
            assert sink.counters().dropped == 7
            async with subscriber(broker.port) as late:
                await late.until(lambda: bool(late.payloads(OUTBOX)))
                losses = json.loads(late.payloads(OUTBOX)[0])
                assert losses == {"dropped": 7, "refused": 0, "oldest": "s/room/0", "newest": "s/room/6"}
        assert caplog.text.count("outbox full") == 1

    broker = Broker(tmp_path)
    try:
        asyncio.run(check())
    finally:
        broker.kill()


def test_cloud_events_wrap_native_events(tmp_path: Path) -> None:
    async def check() -> None:
        async with subscriber(broker.port) as received, mqtt_sink(broker.port, payload="cloudevents") as sink:
            event = examples.event(examples.turn(1))
            await sink.send(event)
            await received.until(lambda: bool(received.payloads(TURN)))
            (message,) = [m for m in received.messages if str(m.topic) == TURN]
            tree = json.loads(received.payloads(TURN)[0])
            assert message.properties.ContentType == "application/cloudevents+json"  # type: ignore[union-attr]
            assert (tree["specversion"], tree["id"], tree["source"]) == ("1.0", event.id, "urn:tonewatch:kitchen")
            assert (tree["type"], tree["subject"], tree["data"]["id"]) == ("tonewatch.turn.v2", "room", event.id)

    with Broker(tmp_path) as broker:
        asyncio.run(check())


def test_state_and_availability_of_a_stream_are_published(tmp_path: Path) -> None:
    async def check() -> None:
        async with subscriber(broker.port) as received, mqtt_sink(broker.port) as sink:
            for count, state in enumerate(["started", "paused", "resumed", "gap", "stalled", "ended"], start=1):
                await sink.send(examples.event(examples.stream(state), seq=count))
                await received.until(lambda n=count: len(received.payloads("home/kitchen/room/stream")) == n)  # type: ignore[misc]
            await wait_until(lambda: sink.statistics().waiting == 0)
        states = [json.loads(payload)["state"] for payload in received.payloads("home/kitchen/room/state")]
        assert states == ["listening", "paused", "listening", "stalled", "ended"]
        availability = received.payloads("home/kitchen/room/availability")
        assert availability == ["online", "online", "online", "offline", "offline"], "a paused stream can be resumed"

    with Broker(tmp_path) as broker:
        asyncio.run(check())


async def send_call(sink: MqttSink, number: int) -> None:
    """Send the events of a short call with one track."""
    name = f"c{number}"
    track: dict[str, Any] = {"source": f"{name}-customer", "call": name, "party": "customer"}
    await sink.send(examples.event(examples.stream("started"), **track))
    await sink.send(examples.event(examples.emotion(), **track))
    await sink.send(examples.event(examples.call(), source=name, call=name))
    await sink.send(examples.event(examples.alert(), source=name, call=name))
    await wait_until(lambda: sink.statistics().waiting == 0)
    await sink.send(examples.event(examples.stream("ended"), **track))
    await sink.send(examples.event(examples.call("final"), source=name, call=name))


def test_ended_streams_and_calls_are_cleared(tmp_path: Path) -> None:
    """From memory, from the broker and from Home Assistant, for any number of calls."""

    async def check() -> None:
        clock = ShiftedClock()
        async with mqtt_sink(broker.port, clock=clock, limits=FAST_LIMITS, discovery_prefix="ha") as sink:

            def sizes() -> tuple[int, int, int]:
                return len(sink._outbox._retained), len(sink._outbox._published), len(sink._ended)

            early = (0, 0, 0)
            for number in range(60):
                await send_call(sink, number)
                clock.shift_s += 1.0
                if number == 20:
                    await wait_until(lambda: sink.statistics().waiting == 0)
                    early = sizes()
            await wait_until(lambda: all(late <= limit for limit, late in zip(early, sizes(), strict=True)))
            await wait_until(lambda: sink.statistics().waiting == 0)
        async with subscriber(broker.port) as late:
            await late.until(lambda: any(str(message.topic).endswith("/info") for message in late.messages))
        kept = {str(message.topic) for message in late.messages if message.retain}
        node = {f"home/kitchen/{leaf}" for leaf in ("availability", "info")}
        assert kept <= node | {"ha/device/tonewatch_kitchen/config"}

    with Broker(tmp_path) as broker:
        asyncio.run(check())


def test_streams_that_ended_during_an_outage_are_cleared() -> None:
    async def check() -> None:
        clock = ShiftedClock()
        with suppress(BrokerUnreachable):
            async with mqtt_sink(1, clock=clock, limits=FAST_LIMITS, discovery_prefix="ha") as sink:
                for number in range(50):
                    source = f"s{number}"
                    await sink.send(examples.event(examples.stream("started"), source=source))
                    await sink.send(examples.event(examples.emotion(), source=source))
                    await sink.send(examples.event(examples.stream("ended"), source=source))
                    clock.shift_s += 1.0
                assert len(sink._outbox._retained) < 40, "those of the last seconds, and of the node"

    asyncio.run(check())


def test_a_burst_is_published_in_order(tmp_path: Path) -> None:
    async def check() -> None:
        async with subscriber(broker.port) as received, mqtt_sink(broker.port, outbox=str(tmp_path / "box")) as sink:
            began_s = time.perf_counter()
            for first in range(0, 2_000, 50):
                await sink.send_all(
                    [examples.event(examples.turn(number), seq=number) for number in range(first, first + 50)]
                )
            await received.until(lambda: len(received.messages) >= 2_002)  # with `info` and `online`
            assert time.perf_counter() - began_s < 20
            assert event_ids(received.payloads(TURN)) == [f"s/room/{number}" for number in range(2_000)]

    with Broker(tmp_path) as broker:
        asyncio.run(check())


async def _retained(port: int) -> dict[str, str]:
    """What a new subscriber is sent."""
    async with subscriber(port) as received, aiomqtt.Client("127.0.0.1", port) as client:
        await client.publish("end", b"1")
        await received.until(lambda: bool(received.payloads("end")))
        return {str(one.topic): bytes(one.payload).decode() for one in received.messages if one.retain}


@pytest.mark.parametrize("outcome", ["finished", "stopped"])
def test_a_finished_run_leaves_nothing_and_a_stopped_one_says_so(tmp_path: Path, outcome: str) -> None:
    async def check() -> None:
        async with mqtt_sink(broker.port, discovery_prefix="homeassistant") as sink:
            await sink.send(examples.event(examples.stream("started")))
            await sink.send(examples.event(examples.speaker("S1")))
            await sink.send(examples.event(examples.emotion("happy")))
            await sink.send(examples.event(examples.health(), source="node"))
            await wait_until(lambda: sink.statistics().waiting == 0)
            running = await _retained(broker.port)
            assert running[AVAILABILITY] == "online"
            assert json.loads(running["home/kitchen/info"])["stopped"] is None
            assert any(topic.startswith("homeassistant/") for topic in running)
            ended = examples.stream("ended").model_copy(update={"outcome": outcome})
            await sink.send(examples.event(ended))
        left = await _retained(broker.port)
        if outcome == "finished":
            assert left == {}
        else:
            assert left[AVAILABILITY] == "offline"
            assert json.loads(left["home/kitchen/info"])["stopped"]
            assert json.loads(left["home/kitchen/room/state"])["state"] == "ended"
            assert left["home/kitchen/room/availability"] == "offline"

    with Broker(tmp_path) as broker:
        asyncio.run(check())
