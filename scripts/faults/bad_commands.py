"""Hostile commands over MQTT: each costs itself only, and the next good one is answered.

    python -m scripts.faults.bad_commands --count 20000

Random bytes, commands with defects, lone surrogates, huge numbers and deep nesting are published on the command topic
of a node that takes all commands, with response topics that are not its own. The node must live, publish nothing on
topics of others, answer a good command afterwards, and log little.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import random
import tempfile
import time
from pathlib import Path

import aiomqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from scripts.faults.attacked_node import attacked_node
from scripts.faults.report import print_result
from tests.server.protocols.corruption import corrupted
from tests.support.mosquitto import Broker

COMMANDS: list[str | bytes] = [
    '{"command": "status", "id": "1"}',
    '{"command": "pause", "source": "none", "id": "2"}',
    '{"command": "enroll", "source": "none", "name": "\\ud800", "id": "3"}',
    '{"command": "reload", "id": "\\ud800"}',
    '{"id": "\\ud800"}',
    "[" * 4_000,
    '{"command": "status", "id": ' + "9" * 4_000 + "}",
]
FOREIGN = ("home/other/command", "elsewhere", "home/attacked/availability", "home/attacked/response/#")
COMMAND, RESPONSE = "home/attacked/command", "home/attacked/response"
ANSWER_TIMEOUT_S = 60.0
MAX_LOG_BYTES_PER_MINUTE = 1_000_000


async def attack(client: aiomqtt.Client, count: int) -> None:
    """Publish commands as fast as the broker takes them."""
    chance = random.Random(1)  # noqa: S311
    messages = corrupted(COMMANDS, chance)
    for _ in range(count):
        message = next(messages)
        properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
        if not chance.randrange(3):
            properties.ResponseTopic = chance.choice(FOREIGN[:3])
        payload = message if isinstance(message, bytes) else message.encode(errors="replace")
        await client.publish(COMMAND, payload, qos=1, properties=properties)


async def is_answered(client: aiomqtt.Client, topics: set[str]) -> bool:
    """Publish good commands until one is executed; adds the topics of what the node has published to `topics`."""
    reading = asyncio.create_task(_answer(client, topics))
    deadline_s = time.monotonic() + ANSWER_TIMEOUT_S
    number = 0
    while not reading.done() and time.monotonic() < deadline_s:
        number += 1
        await client.publish(COMMAND, json.dumps({"command": "status", "id": f"good {number}"}), qos=1)
        await asyncio.wait([reading], timeout=1.0)
    reading.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        return await reading
    return False


async def _answer(client: aiomqtt.Client, topics: set[str]) -> bool:
    async for message in client.messages:
        topics.add(str(message.topic))
        if str(message.topic) != RESPONSE or not isinstance(message.payload, bytes):
            continue
        reply = json.loads(message.payload)
        if str(reply["id"]).startswith("good") and reply["ok"]:
            return True
    return False


async def main(count: int) -> None:
    """Attack a node over a broker of its own."""
    with tempfile.TemporaryDirectory() as folder, Broker(Path(folder)) as broker:
        allowed = 'mqtt.commands=["status","pause","resume","enroll","reload"]'
        options = ["--set", "node=attacked", "--set", allowed, "--profiles", f"{folder}/profiles.sqlite"]
        async with attacked_node(*options, "--sink", f"mqtt://127.0.0.1:{broker.port}/home") as node:
            topics: set[str] = set()
            v5 = aiomqtt.ProtocolVersion.V5
            async with aiomqtt.Client("127.0.0.1", broker.port, protocol=v5) as client:
                await client.subscribe("home/#", qos=1)
                await client.subscribe("elsewhere", qos=1)
                answered_before = await is_answered(client, topics)
                began_s = time.monotonic()
                async with aiomqtt.Client("127.0.0.1", broker.port, protocol=v5) as attacker:
                    await attack(attacker, count)
                took_s = time.monotonic() - began_s
                answered = await is_answered(client, topics)
            alive, trace, log_rate = node.is_alive, node.first_trace, node.log_bytes_per_minute
    misused = sorted(topics & {FOREIGN[0], FOREIGN[1]})
    print_result(
        "bad_commands",
        held=alive
        and not trace
        and not misused
        and answered_before
        and answered
        and log_rate <= MAX_LOG_BYTES_PER_MINUTE,
        commands=count,
        per_s=round(count / took_s),
        answered_afterwards=answered,
        published_for_others=misused,
        log_bytes_per_minute=log_rate,
        first_trace=trace,
        alive=alive,
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=20_000)
    asyncio.run(main(parser.parse_args().count))
