"""Commands over MQTT: off by default, allow-listed, answered; and Home Assistant, which uses them."""

from __future__ import annotations

import asyncio
import json
import logging
import signal
import sys
from collections.abc import Collection
from pathlib import Path
from typing import Any

import aiomqtt
import pytest
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from stream.control.commands import CommandReply, parse
from stream.errors import CommandRefused
from tests.sinks import examples
from tests.sinks.mqtt.wires import sink, subscriber, until
from tests.support.mosquitto import Broker

COMMAND, RESPONSE = "home/kitchen/command", "home/kitchen/response"
DEVICE, NODE = "homeassistant/device/tonewatch_kitchen_room/config", "homeassistant/device/tonewatch_kitchen/config"


class Hands:
    """Notes what was asked, and answers."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def answer(self, payload: bytes, allowed: Collection[str]) -> CommandReply:
        try:
            command = parse(payload, allowed=allowed)
        except CommandRefused as refusal:
            return CommandReply(ok=False, error=str(refusal))
        self.asked.append(command.command)
        return CommandReply(id=command.id, command=command.command, ok=True, result={})


def speaker_of(port: int) -> aiomqtt.Client:
    return aiomqtt.Client("127.0.0.1", port, protocol=aiomqtt.ProtocolVersion.V5)


def test_a_command_is_answered_where_the_asker_wants_it(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def talk() -> None:
        hands = Hands()
        async with subscriber(broker.port) as heard, speaker_of(broker.port) as us:
            await us.publish(COMMAND, '{"command": "pause", "source": "old"}', retain=True, qos=1)
            async with sink(broker.port, commands=["status", "pause"]) as out:
                out.attach(hands.answer)
                await until(lambda: "retained command" in caplog.text)
                await us.publish(COMMAND, '{"command": "status", "id": "1"}', qos=1)
                await heard.until(lambda: len(heard.payloads(RESPONSE)) == 1)
                assert json.loads(heard.payloads(RESPONSE)[0])["id"] == "1"
                for where, answered in (("home/panel/answers", "home/panel/answers"), ("elsewhere/x", RESPONSE)):
                    wish = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
                    wish.ResponseTopic, wish.CorrelationData = where, b"42"
                    before = len(heard.payloads(answered))
                    await us.publish(COMMAND, '{"command": "pause", "source": "a"}', qos=1, properties=wish)
                    await heard.until(lambda t=answered, n=before: len(heard.payloads(t)) == n + 1)  # type: ignore[misc]
                    (*_, message) = [m for m in heard.messages if str(m.topic) == answered]
                    assert message.properties.CorrelationData == b"42"  # type: ignore[union-attr]
                await us.publish(COMMAND, '{"command": "reload"}', qos=1)
                await us.publish(COMMAND, b"\xff" * 100, qos=1)
                await heard.until(lambda: len(heard.payloads(RESPONSE)) == 4)
                refusals = [json.loads(payload)["error"] for payload in heard.payloads(RESPONSE)[2:]]
                assert refusals[0] == "the command 'reload' is not allowed here; allowed is status, pause"
                assert "not JSON" in refusals[1]
            assert not heard.payloads("elsewhere/x"), "nobody publishes in our name outside our prefix"
            assert hands.asked == ["status", "pause", "pause"]

    caplog.set_level(logging.WARNING)
    with Broker(tmp_path) as broker:
        asyncio.run(talk())


def test_without_being_allowed_no_command_is_even_read(tmp_path: Path) -> None:
    async def talk() -> None:
        hands = Hands()
        async with subscriber(broker.port) as heard, speaker_of(broker.port) as us, sink(broker.port) as out:
            out.attach(hands.answer)
            await heard.until(lambda: bool(heard.payloads("home/kitchen/availability")))
            await us.publish(COMMAND, '{"command": "status"}', qos=1)
            await out.send(examples.event(examples.turn(1)))
            await heard.until(lambda: bool(heard.payloads("home/kitchen/room/turn")))
        assert not heard.payloads(RESPONSE)
        assert not hands.asked

    with Broker(tmp_path) as broker:
        asyncio.run(talk())


def test_a_fault_of_ours_is_not_hidden(tmp_path: Path) -> None:
    """A handler with a bug ends the run with its error; it does not silence the node."""

    async def broken(payload: bytes, allowed: Collection[str]) -> CommandReply:
        raise ZeroDivisionError(payload, allowed)

    async def talk() -> None:
        out = await sink(broker.port, commands=["status"]).__aenter__()
        out.attach(broken)
        async with speaker_of(broker.port) as us:
            await until(lambda: out._delivery.connected)
            await us.publish(COMMAND, '{"command": "status"}', qos=1)
            await until(lambda: out._delivery._task is not None and out._delivery._task.done())
        with pytest.raises(BaseExceptionGroup, match="unhandled"):
            await out.send(examples.event(examples.turn(1)))

    with Broker(tmp_path) as broker:
        asyncio.run(talk())


def test_a_running_node_is_paused_and_resumed_over_mqtt(tmp_path: Path) -> None:
    """The real program, from a message to silence and back."""

    async def talk() -> None:
        async with subscriber(broker.port) as heard, speaker_of(broker.port) as us:
            allowed = 'mqtt.commands=["status","pause","resume"]'
            words = ["demo", "--realtime", "--quiet", "--set", "node=kitchen", "--set", allowed]
            target = f"mqtt://127.0.0.1:{broker.port}/home"
            process = await asyncio.create_subprocess_exec(sys.executable, "-m", "stream", *words, "--sink", target)
            states = "home/kitchen/demo/state"

            async def ask(command: str, state: str) -> None:
                await us.publish(COMMAND, json.dumps({"command": command, "source": "demo"}), qos=1)
                await heard.until(lambda: f'"state":"{state}"' in "".join(heard.payloads(states)[-1:]))

            await heard.until(lambda: bool(heard.payloads("home/kitchen/demo/speaker")))
            await ask("pause", "paused")
            await us.publish(COMMAND, '{"command": "status", "id": "s"}', qos=1)
            await heard.until(lambda: any('"id":"s"' in payload for payload in heard.payloads(RESPONSE)))
            (answer,) = [json.loads(p) for p in heard.payloads(RESPONSE) if '"id":"s"' in p]
            assert answer["result"]["streams"][0]["state"] == "paused"
            await ask("resume", "listening")
            gap = "home/kitchen/demo/stream"
            await heard.until(lambda: any('"state":"gap"' in payload for payload in heard.payloads(gap)))
            process.terminate()
            assert await process.wait() == 128 + signal.SIGTERM
            await heard.until(lambda: heard.payloads("home/kitchen/availability")[-1] == "offline")

    with Broker(tmp_path) as broker:
        asyncio.run(talk())


def test_home_assistant_is_told_who_there_is_and_when_one_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stream.sinks.mqtt.sink.GONE_S", 0.0)
    monkeypatch.setattr("stream.sinks.mqtt.delivery.HOUSEKEEPING_S", 0.05)

    def components(heard: Any) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(heard.payloads(DEVICE)[-1])["components"]
        return found

    async def talk() -> None:
        async with subscriber(broker.port) as heard, speaker_of(broker.port) as home:
            async with sink(broker.port, discovery_prefix="homeassistant", commands=["pause", "resume"]) as out:
                await out.send(examples.event(examples.stream("started")))
                await heard.until(lambda: bool(heard.payloads(DEVICE)) and bool(heard.payloads(NODE)))
                assert set(components(heard)) == {"speaker", "speech", "turn", "listening"}
                await out.send(examples.event(examples.emotion("happy"), seq=1))
                await heard.until(lambda: bool(heard.payloads("home/kitchen/room/emotion")))
                assert components(heard)["emotion"]["options"] == ["happy", "sad", "uncertain", "silence"]
                await out.send(examples.event(examples.speaker("S7"), seq=2))
                await heard.until(lambda: bool(heard.payloads("home/kitchen/room/speaker")))
                assert components(heard)["speaker"]["options"] == ["nobody", "somebody", "S7"], "told before the state"
                count = len(heard.payloads(DEVICE))
                await home.publish("homeassistant/status", "online", qos=1)
                await heard.until(lambda: len(heard.payloads(DEVICE)) > count)  # it has come up: all is told again
                await out.send(examples.event(examples.stream("ended"), seq=3))
                await heard.until(lambda: heard.payloads(DEVICE)[-1] == "")
            assert heard.payloads(NODE)[-1], "the node itself stays known"

    with Broker(tmp_path) as broker:
        asyncio.run(talk())
