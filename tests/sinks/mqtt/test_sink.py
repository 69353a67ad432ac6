"""The MQTT sink against a real mosquitto: order, retained state, losses, and what survives an outage."""

from __future__ import annotations

import asyncio
import json
import logging
import sqlite3
import time
from contextlib import closing, suppress
from pathlib import Path

import pytest

from stream.errors import BrokerUnreachable
from stream.settings import AlertsSettings, MqttSettings
from stream.sinks.outbox.set_aside import SetAsideStore
from tests.support import examples
from tests.support.mosquitto import Broker
from tests.support.mqtt import FAST_LIMITS, ShiftedClock, mqtt_sink, subscriber
from tests.support.waiting import wait_until

pytestmark = pytest.mark.slow

TURN, EMOTION, SPEAKER = (f"home/kitchen/room/{kind}" for kind in ("turn", "emotion", "speaker"))
AVAILABILITY, OUTBOX = "home/kitchen/availability", "home/kitchen/outbox"


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


def test_a_broker_that_starts_late_gets_every_event(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def check() -> None:
        async with mqtt_sink(broker.port) as sink:
            for number in range(5):
                await sink.send(examples.event(examples.turn(number), seq=number))
            await wait_until(lambda: "cannot connect (Connection refused); retrying" in caplog.text)
            broker.start()
            await wait_until(lambda: sink.statistics().waiting == 0)
        assert sink.statistics().sent == 5
        assert caplog.text.count("cannot connect") == 1

    caplog.set_level(logging.WARNING)
    broker = Broker(tmp_path)
    try:
        asyncio.run(check())
    finally:
        broker.kill()


def test_refused_messages_are_counted_and_logged_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def check() -> None:
        async with subscriber(broker.port) as received, mqtt_sink(broker.port, outbox=str(tmp_path / "box")) as sink:
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
        assert caplog.text.count("message on home/kitchen/room/turn set aside (Not authorized, code 0x87)") == 1
        (kept,) = (tmp_path / "box").glob("*.set-aside.sqlite")
        with closing(SetAsideStore(kept, MqttSettings())) as store:
            assert [one.topic for one in store.read()] == ["home/kitchen/room/turn"] * 5, "the emotion has passed"

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


def test_levels_and_conditions_of_alerts_are_published(tmp_path: Path) -> None:
    async def check() -> None:
        alerts = AlertsSettings()
        async with (
            subscriber(broker.port) as received,
            mqtt_sink(broker.port, limits=FAST_LIMITS, discovery_prefix="ha", commands=["set_alert"]) as sink,
        ):
            sink.attach_levels(lambda: {"room": -30.0})
            sink.attach_alerts(lambda: alerts)
            await sink.send(examples.event(examples.stream("started")))
            await received.until(lambda: "-30.0" in "".join(received.payloads("home/kitchen/room/home")))
            alerts = AlertsSettings(anger_on=0.9)
            await received.until(lambda: '"anger_on":0.9' in "".join(received.payloads("home/kitchen/conditions")))

    with Broker(tmp_path) as broker:
        asyncio.run(check())
