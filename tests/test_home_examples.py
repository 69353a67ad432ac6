"""The examples for Home Assistant and mosquitto in docs/examples load and do what they say."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

import aiomqtt
import pytest
import yaml

from stream.control.commands import CommandReply, request_id
from stream.events import to_json
from stream.settings import MqttSettings, Settings
from stream.sinks.mqtt.sink import MqttSink
from tests.support import examples
from tests.support.mosquitto import Broker
from tests.support.waiting import WAIT_TIMEOUT_S, wait_until

FOLDER = Path(__file__).parent.parent / "docs" / "examples"
USERS = {name: f"secret of {name}" for name in ("kitchen", "hall", "homeassistant", "display")}


class _Loader(yaml.SafeLoader):  # type: ignore[misc]
    """Reads `!input` as Home Assistant does."""


_Loader.add_constructor("!input", lambda loader, node: {"input": loader.construct_scalar(node)})


def test_the_blueprint_uses_every_input_it_asks_for() -> None:
    text = (FOLDER / "homeassistant" / "stranger.yaml").read_text(encoding="utf-8")
    blueprint = yaml.load(text, Loader=_Loader)  # noqa: S506 - a safe loader
    used = {line.partition("!input ")[2].strip() for line in text.splitlines() if "!input" in line}
    assert used == set(blueprint["blueprint"]["input"])
    assert blueprint["blueprint"]["domain"] == "automation"
    assert blueprint["triggers"][0]["entity_id"] == {"input": "stranger"}


def test_the_automations_name_fields_that_events_have() -> None:
    automations = yaml.safe_load((FOLDER / "homeassistant" / "automations.yaml").read_text(encoding="utf-8"))
    assert len({one["id"] for one in automations}) == len(automations)
    turn = json.loads(to_json(examples.event(examples.turn(1, name="Alice"))))
    text = json.dumps(automations)
    for field in ("phase", "speaker", "speech_s", "emotion"):
        assert f"json.{field}" in text
        assert turn[field] is not None


@pytest.mark.slow
def test_the_access_list_lets_nodes_publish_and_only_home_assistant_command(tmp_path: Path) -> None:
    async def answer(payload: bytes, allowed: Collection[str]) -> CommandReply:  # noqa: ARG001
        return CommandReply(id=request_id(payload), ok=True, result={})

    async def check() -> None:
        mqtt: dict[str, Any] = {"outbox": "", "commands": ["status"], "discovery_prefix": "homeassistant"}
        settings = Settings(
            node="kitchen",
            mqtt=MqttSettings.model_validate({**mqtt, "username": "kitchen", "password": USERS["kitchen"]}),
        )
        sink = MqttSink(target=f"mqtt://127.0.0.1:{broker.port}/tonewatch", settings=settings)
        sink.attach(answer)
        async with client("homeassistant") as home, client("display") as display, client("hall") as hall:
            await home.subscribe("tonewatch/#", qos=1)
            async with sink:
                await sink.send(examples.event(examples.stream("started")))
                await sink.send(examples.event(examples.turn(1)))
                await wait_until(lambda: sink.statistics().waiting == 0)
                for number, stranger in enumerate((display, hall)):
                    await stranger.publish("tonewatch/kitchen/command", _command(f"bad {number}"), qos=1)
                await home.publish("tonewatch/kitchen/command", _command("good"), qos=1)
                async with asyncio.timeout(WAIT_TIMEOUT_S):
                    async for message in home.messages:
                        if message.topic.matches("tonewatch/kitchen/response"):
                            assert isinstance(message.payload, bytes)
                            assert json.loads(message.payload)["id"] == "good", "the first reply"
                            break
                assert sink.counters().refused == 0, "every topic of the node is permitted"

    def client(user: str) -> aiomqtt.Client:
        return aiomqtt.Client("127.0.0.1", broker.port, username=user, password=USERS[user])

    rules = (FOLDER / "mosquitto.acl").read_text(encoding="utf-8")
    with Broker(tmp_path, users=dict(USERS), rules=rules) as broker:
        asyncio.run(check())


def _command(identifier: str) -> str:
    return json.dumps({"command": "status", "id": identifier})
