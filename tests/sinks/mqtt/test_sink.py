"""MQTT against a real mosquitto."""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from pathlib import Path

import pytest
from pydantic import SecretStr

from stream.errors import BrokerUnreachable
from tests.sinks import examples
from tests.sinks.mqtt.wires import sink, subscriber, until
from tests.support.mosquitto import Broker


@pytest.mark.parametrize("qos", [0, 1, 2])
def test_events_arrive_in_order_and_state_is_retained(tmp_path: Path, qos: int) -> None:
    async def talk() -> None:
        async with subscriber(broker.port) as heard:
            async with sink(broker.port, qos=qos) as out:
                await out.send(examples.event(examples.stream("started")))
                for number in range(50):
                    await out.send(examples.event(examples.turn(number), seq=number))
                await out.send(examples.event(examples.emotion("happy")))
                await out.send(examples.event(examples.speaker("S1")))
                await heard.until(lambda: len(heard.payloads("home/kitchen/room/turn")) == 50)
            await heard.until(lambda: heard.payloads("home/kitchen/availability") == ["online", "offline"])
            turns = [json.loads(payload)["turn"] for payload in heard.payloads("home/kitchen/room/turn")]
            assert turns == [f"t{number}" for number in range(50)]
            assert json.loads(heard.payloads("home/kitchen/info")[0])["schema"] == 1
        async with subscriber(broker.port) as late:
            await late.until(lambda: bool(late.payloads("home/kitchen/room/speaker")))
            assert late.payloads("home/kitchen/availability") == ["offline"]
            assert json.loads(late.payloads("home/kitchen/room/emotion")[0])["label"] == "happy"
            assert not late.payloads("home/kitchen/room/turn"), "events are not state"

    with Broker(tmp_path) as broker:
        asyncio.run(talk())


def test_the_will_says_offline_when_the_process_is_killed(tmp_path: Path) -> None:
    async def talk() -> None:
        async with subscriber(broker.port) as heard:
            words = ["-m", "stream", "demo", "--realtime", "--quiet", "--set", "node=kitchen"]
            target = f"mqtt://127.0.0.1:{broker.port}/home"
            process = await asyncio.create_subprocess_exec(sys.executable, *words, "--sink", target)
            await heard.until(lambda: heard.payloads("home/kitchen/availability") == ["online"])
            process.kill()
            await heard.until(lambda: heard.payloads("home/kitchen/availability") == ["online", "offline"])
            await process.wait()

    with Broker(tmp_path) as broker:
        asyncio.run(talk())


def test_a_broker_that_was_away_at_the_start_gets_everything(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def talk() -> None:
        async with sink(broker.port) as out:
            for number in range(5):
                await out.send(examples.event(examples.turn(number), seq=number))
            await until(lambda: "does not take messages" in caplog.text)
            broker.start()
            await until(lambda: out.statistics().waiting == 0)
        assert out.statistics().sent == 5
        assert caplog.text.count("does not take messages") == 1

    caplog.set_level(logging.WARNING)
    broker = Broker(tmp_path)
    try:
        asyncio.run(talk())
    finally:
        broker.kill()


def test_a_broker_that_was_never_there_is_said_at_the_end(tmp_path: Path) -> None:
    async def talk() -> None:
        async with sink(Broker(tmp_path).port) as out:
            await out.send(examples.event(examples.turn(1)))

    with pytest.raises(BrokerUnreachable, match="was never reached; 1 messages were not delivered"):
        asyncio.run(talk())


def test_a_wrong_password_is_said_and_not_shown(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def talk(password: str) -> None:
        async with sink(broker.port, username="me", password=SecretStr(password)) as out:
            await out.send(examples.event(examples.turn(1)))
            await until(lambda: out.statistics().waiting == 0 or "does not take messages" in caplog.text)

    with Broker(tmp_path, users={"me": "right-one"}) as broker:
        asyncio.run(talk("right-one"))
        with pytest.raises(BrokerUnreachable):
            asyncio.run(talk("wrong-one"))
    assert "ot authorized" in caplog.text
    assert "wrong-one" not in caplog.text
