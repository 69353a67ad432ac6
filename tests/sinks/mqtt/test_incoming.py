"""Commands over MQTT: off by default, allow-listed, answered; and their use by Home Assistant."""

from __future__ import annotations

import asyncio
import json
import logging
import signal
import sys
from collections.abc import Collection
from pathlib import Path
from typing import Any, cast

import aiomqtt
import pytest
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from stream.control.commands import CommandReply, parse_command
from stream.control.dispatcher import DEFECT
from stream.errors import CommandRefused
from stream.sinks.mqtt.connection import BrokerConnection
from stream.sinks.mqtt.incoming import CommandReceiver
from tests.support import examples
from tests.support.mosquitto import Broker
from tests.support.mqtt import FAST_LIMITS, mqtt_sink, subscriber
from tests.support.small_models import TINY
from tests.support.waiting import wait_until

pytestmark = pytest.mark.slow

COMMAND, RESPONSE, AVAILABILITY = (f"home/kitchen/{leaf}" for leaf in ("command", "response", "availability"))
DEVICE, NODE = "homeassistant/device/tonewatch_kitchen_room/config", "homeassistant/device/tonewatch_kitchen/config"


class RecordingHandler:
    """Records commands and answers them."""

    def __init__(self) -> None:
        self.received: list[str] = []

    async def answer(self, payload: bytes, allowed: Collection[str]) -> CommandReply:
        try:
            command = parse_command(payload, allowed=allowed)
        except CommandRefused as refusal:
            return CommandReply(ok=False, error=str(refusal))
        self.received.append(command.command)
        return CommandReply(id=command.id, command=command.command, ok=True, result={})


def client(port: int) -> aiomqtt.Client:
    return aiomqtt.Client("127.0.0.1", port, protocol=aiomqtt.ProtocolVersion.V5)


def test_a_reply_goes_to_the_requests_response_topic(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def check() -> None:
        handler = RecordingHandler()
        async with subscriber(broker.port) as received, client(broker.port) as publisher:
            await publisher.publish(COMMAND, '{"command": "pause", "source": "old"}', retain=True, qos=1)
            async with mqtt_sink(broker.port, commands=["status", "pause"]) as sink:
                sink.attach(handler.answer)
                await wait_until(lambda: "retained command" in caplog.text)
                await publisher.publish(COMMAND, '{"command": "status", "id": "1"}', qos=1)
                await received.until(lambda: len(received.payloads(RESPONSE)) == 1)
                assert json.loads(received.payloads(RESPONSE)[0])["id"] == "1"
                for response_topic, reply_topic in (
                    (f"{RESPONSE}/panel", f"{RESPONSE}/panel"),
                    ("elsewhere/x", RESPONSE),
                    ("home/other/availability", RESPONSE),
                ):
                    properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
                    properties.ResponseTopic, properties.CorrelationData = response_topic, b"42"
                    before = len(received.payloads(reply_topic))
                    await publisher.publish(
                        COMMAND, '{"command": "pause", "source": "a"}', qos=1, properties=properties
                    )
                    await received.until(lambda t=reply_topic, n=before: len(received.payloads(t)) == n + 1)  # type: ignore[misc]
                    (*_, message) = [m for m in received.messages if str(m.topic) == reply_topic]
                    assert message.properties.CorrelationData == b"42"  # type: ignore[union-attr]
                await publisher.publish(COMMAND, '{"command": "reload"}', qos=1)
                await publisher.publish(COMMAND, b"\xff" * 100, qos=1)
                await publisher.publish(COMMAND, b'{"id": "\\ud800"}', qos=1)
                await received.until(lambda: len(received.payloads(RESPONSE)) == 6)
                refusals = [json.loads(payload)["error"] for payload in received.payloads(RESPONSE)[3:]]
                assert refusals[0] == "command 'reload' is not allowed; allowed: status, pause"
                assert "not JSON" in refusals[1]
                assert refusals[2]
            for topic in ("elsewhere/x", "home/other/availability"):
                assert not received.payloads(topic), "no client makes the node publish beside its replies"
            assert handler.received == ["status", "pause", "pause", "pause"]

    caplog.set_level(logging.WARNING)
    with Broker(tmp_path) as broker:
        asyncio.run(check())


def test_without_allowed_commands_none_is_read(tmp_path: Path) -> None:
    async def check() -> None:
        handler = RecordingHandler()
        async with (
            subscriber(broker.port) as received,
            client(broker.port) as publisher,
            mqtt_sink(broker.port) as sink,
        ):
            sink.attach(handler.answer)
            await received.until(lambda: bool(received.payloads(AVAILABILITY)))
            await publisher.publish(COMMAND, '{"command": "status"}', qos=1)
            await sink.send(examples.event(examples.turn(1)))
            await received.until(lambda: bool(received.payloads("home/kitchen/room/turn")))
        assert not received.payloads(RESPONSE)
        assert not handler.received

    with Broker(tmp_path) as broker:
        asyncio.run(check())


def test_an_error_in_a_handler_is_logged_and_answered(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def broken(payload: bytes, allowed: Collection[str]) -> CommandReply:
        raise ZeroDivisionError(payload, allowed)

    async def check() -> None:
        async with (
            mqtt_sink(broker.port, commands=["status"]) as sink,
            subscriber(broker.port) as received,
            client(broker.port) as publisher,
        ):
            sink.attach(broken)
            await received.until(lambda: received.payloads(AVAILABILITY) == ["online"])
            await publisher.publish(COMMAND, '{"command": "status"}', qos=1)
            await received.until(lambda: bool(received.payloads(RESPONSE)))
            assert json.loads(received.payloads(RESPONSE)[0])["error"] == DEFECT
            await sink.send(examples.event(examples.turn(1)))
            await received.until(lambda: bool(received.payloads("home/kitchen/room/turn")))

    with Broker(tmp_path) as broker:
        asyncio.run(check())
    assert "ZeroDivisionError" in caplog.text


def test_a_command_is_received_once_the_node_is_online(tmp_path: Path) -> None:
    async def check() -> None:
        async with subscriber(broker.port) as received, client(broker.port) as publisher:
            for count in range(1, 11):
                handler = RecordingHandler()
                sink = mqtt_sink(broker.port, commands=["status"])
                sink.attach(handler.answer)
                async with sink:
                    await received.until(lambda n=count: received.payloads(AVAILABILITY).count("online") == n)  # type: ignore[misc]
                    await publisher.publish(COMMAND, '{"command": "status"}', qos=1)
                    await received.until(lambda n=count: len(received.payloads(RESPONSE)) == n)  # type: ignore[misc]
                await received.until(lambda n=count: received.payloads(AVAILABILITY).count("offline") == n)  # type: ignore[misc]

    with Broker(tmp_path) as broker:
        asyncio.run(check())


def test_a_refused_subscription_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    class RefusingConnection:
        async def subscribe_to(self, topic: str) -> str:
            assert topic == COMMAND
            return "Not authorized"

    async def check() -> None:
        receiver = CommandReceiver(topic=COMMAND, reply_topic=RESPONSE, qos=1, allowed=["status"])
        for _ in range(2):  # a reconnect
            await receiver.subscribe(cast("BrokerConnection", RefusingConnection()))

    asyncio.run(check())
    assert caplog.text.count(f"refuses the subscription to {COMMAND} (Not authorized)") == 1


@pytest.mark.long
def test_a_running_node_is_paused_and_resumed_over_mqtt(tmp_path: Path) -> None:
    """The real program: a pause silences a stream, a resume ends the silence."""

    async def check() -> None:
        async with subscriber(broker.port) as received, client(broker.port) as publisher:
            allowed = 'mqtt.commands=["status","pause","resume"]'
            arguments = ["demo", "--realtime", "--quiet", "--set", "node=kitchen", "--set", allowed, *TINY]
            target = f"mqtt://127.0.0.1:{broker.port}/home"
            process = await asyncio.create_subprocess_exec(sys.executable, "-m", "stream", *arguments, "--sink", target)
            states = "home/kitchen/demo/state"

            async def request(command: str, state: str) -> None:
                await publisher.publish(COMMAND, json.dumps({"command": command, "source": "demo"}), qos=1)
                await received.until(lambda: f'"state":"{state}"' in "".join(received.payloads(states)[-1:]))

            await received.until(lambda: bool(received.payloads("home/kitchen/demo/speaker")))
            await request("pause", "paused")
            await publisher.publish(COMMAND, '{"command": "status", "id": "s"}', qos=1)
            await received.until(lambda: any('"id":"s"' in payload for payload in received.payloads(RESPONSE)))
            (reply,) = [json.loads(p) for p in received.payloads(RESPONSE) if '"id":"s"' in p]
            assert reply["result"]["streams"][0]["state"] == "paused"
            await request("resume", "listening")
            gap = "home/kitchen/demo/stream"
            await received.until(lambda: any('"state":"gap"' in payload for payload in received.payloads(gap)))
            process.terminate()
            assert await process.wait() == 128 + signal.SIGTERM
            await received.until(lambda: received.payloads(AVAILABILITY)[-1] == "offline")

    with Broker(tmp_path) as broker:
        asyncio.run(check())


def test_home_assistant_learns_of_new_and_ended_streams(tmp_path: Path) -> None:
    def components(received: Any) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(received.payloads(DEVICE)[-1])["components"]
        return found

    async def check() -> None:
        async with subscriber(broker.port) as received, client(broker.port) as home:
            options: dict[str, Any] = {"discovery_prefix": "homeassistant", "commands": ["pause", "resume"]}
            async with mqtt_sink(broker.port, limits=FAST_LIMITS, clear_delay_s=0.0, **options) as sink:
                await sink.send(examples.event(examples.stream("started")))
                await received.until(lambda: bool(received.payloads(DEVICE)) and bool(received.payloads(NODE)))
                assert {"speaker", "speech", "turn", "listening"} <= set(components(received))
                await received.until(lambda: bool(received.payloads("home/kitchen/room/home")))
                assert json.loads(received.payloads("home/kitchen/room/home")[-1])["emotion"] == "silence"
                await sink.send(examples.event(examples.emotion("happy"), seq=1))
                await received.until(lambda: bool(received.payloads("home/kitchen/room/emotion")))
                assert components(received)["emotion"]["options"] == ["happy", "sad", "uncertain", "silence"]
                await sink.send(examples.event(examples.speaker("S7"), seq=2))
                await received.until(lambda: bool(received.payloads("home/kitchen/room/speaker")))
                assert json.loads(received.payloads("home/kitchen/room/home")[-1])["speaker"] == "S7"
                assert "options" not in components(received)["speaker"], "names come at any time"
                count = len(received.payloads(DEVICE))
                await home.publish("homeassistant/status", "online", qos=1)
                await received.until(
                    lambda: len(received.payloads(DEVICE)) > count
                )  # after its start everything is published again
                await sink.send(examples.event(examples.stream("ended"), seq=3))
                await received.until(lambda: received.payloads(DEVICE)[-1] == "")
            assert received.payloads(NODE)[-1], "the node stays announced"

    with Broker(tmp_path) as broker:
        asyncio.run(check())
