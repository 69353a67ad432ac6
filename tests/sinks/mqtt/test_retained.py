"""What is retained on the broker: state and availability, and what is taken back."""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import aiomqtt
import pytest

from stream.errors import BrokerUnreachable
from stream.sinks.mqtt.sink import MqttSink
from tests.support import examples
from tests.support.mosquitto import Broker
from tests.support.mqtt import FAST_LIMITS, ShiftedClock, mqtt_sink, subscriber
from tests.support.small_models import TINY
from tests.support.waiting import wait_until

pytestmark = pytest.mark.slow

TURN, EMOTION, SPEAKER = (f"home/kitchen/room/{kind}" for kind in ("turn", "emotion", "speaker"))
AVAILABILITY, OUTBOX = "home/kitchen/availability", "home/kitchen/outbox"


@pytest.mark.long
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


@pytest.mark.long
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


async def _retained(port: int) -> dict[str, str]:
    """What a new subscriber is sent."""
    async with subscriber(port) as received, aiomqtt.Client("127.0.0.1", port) as client:
        await client.publish("end", b"1")
        await received.until(lambda: bool(received.payloads("end")))
        return {str(one.topic): bytes(one.payload).decode() for one in received.messages if one.retain}
