"""Starts of a node; at each one a command is sent as soon as the node says `online`.

    python -m scripts.faults.births --count 1000

Every command must be answered: a node is `online` only once the broker has acknowledged its subscriptions.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import tempfile
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

import aiomqtt

from scripts.faults.report import print_result
from stream.control.commands import CommandReply, request_id
from stream.settings import Settings
from stream.sinks.mqtt.sink import MqttSink
from tests.support.mosquitto import Broker

REPLY_TIMEOUT_S = 2.0


async def _answer(payload: bytes, allowed: Collection[str]) -> CommandReply:  # noqa: ARG001 - the sink's signature
    return CommandReply(id=request_id(payload), command="status", ok=True, result={})


async def _measure(*, count: int, protocol: str, folder: Path) -> None:
    settings = Settings.model_validate(
        {"node": "n", "mqtt": {"outbox": "", "commands": ["status"], "protocol": protocol}}
    )
    answered: set[str] = set()
    with Broker(folder) as broker:
        async with aiomqtt.Client("127.0.0.1", broker.port) as client:
            await client.subscribe("home/n/#", qos=1)
            for number in range(count):
                sink = MqttSink(target=f"mqtt://127.0.0.1:{broker.port}/home", settings=settings)
                sink.attach(_answer)
                async with sink:
                    with suppress(TimeoutError):
                        async with asyncio.timeout(REPLY_TIMEOUT_S):
                            await _send_on_birth(client, str(number), answered)
    print_result("births", held=len(answered) == count, starts=count, protocol=protocol, answered=len(answered))


async def _send_on_birth(client: aiomqtt.Client, number: str, answered: set[str]) -> None:
    """Send a command when the node says `online`, and wait for its reply."""
    async for message in client.messages:
        topic, payload = str(message.topic), message.payload
        if topic == "home/n/availability" and payload == b"online" and not message.retain:
            await client.publish("home/n/command", json.dumps({"command": "status", "id": number}), qos=1)
        elif topic == "home/n/response" and isinstance(payload, bytes) and json.loads(payload)["id"] == number:
            answered.add(number)
            return


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--protocol", choices=("5", "3.1.1"), default="5")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.ERROR)
    with tempfile.TemporaryDirectory() as place:
        asyncio.run(_measure(count=arguments.count, protocol=arguments.protocol, folder=Path(place)))
