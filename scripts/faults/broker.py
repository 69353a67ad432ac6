"""A broker that is killed for a minute in a stream with 200 turns, three times over.

    python -m scripts.faults.broker --down-s 60 --times 3

Every turn must arrive at least once, first arrivals in order, and no rolling state that is older than its expiry may be
told. A subscriber of its own process's connection hears everything; mosquitto is killed with SIGKILL and keeps nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import tempfile
import time
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import aiomqtt

from scripts.faults.report import say
from stream import events
from stream.settings import Settings
from stream.sinks.mqtt.sink import MqttSink
from tests.support import examples
from tests.support.mosquitto import Broker

TURNS = 200


class Ear:
    """Hears everything on the broker, through its deaths."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.turns: list[str] = []
        self.stale_s: list[float] = []
        self.listening = asyncio.Event()

    async def hear(self, *, expiry_s: float) -> None:
        """For ever."""
        while True:
            with suppress(aiomqtt.MqttError):
                async with aiomqtt.Client("127.0.0.1", self._port, protocol=aiomqtt.ProtocolVersion.V5) as client:
                    await client.subscribe("#", qos=1)
                    self.listening.set()
                    async for message in client.messages:
                        self._note(message, expiry_s)
            self.listening.clear()
            await asyncio.sleep(0.05)

    def _note(self, message: aiomqtt.Message, expiry_s: float) -> None:
        topic, payload = str(message.topic), message.payload
        if not isinstance(payload, bytes):
            return
        if topic.endswith("/turn"):
            self.turns.append(json.loads(payload)["id"])
        elif topic.endswith("/emotion"):
            age_s = time.time() - datetime.fromisoformat(json.loads(payload)["time"]).timestamp()
            if age_s > expiry_s + 1:
                self.stale_s.append(round(age_s, 1))


async def _suffer(*, down_s: float, times: int, folder: Path) -> None:
    expiry_s = max(10, int(down_s / 2))  # state told before an outage has expired when it ends
    settings = Settings.model_validate(
        {"node": "n", "mqtt": {"outbox": str(folder / "box"), "expiry_s": expiry_s, "reconnect_max_s": 2}}
    )
    with Broker(folder) as broker:
        ear = Ear(broker.port)
        hearing = asyncio.create_task(ear.hear(expiry_s=expiry_s), name="ear")
        await ear.listening.wait()
        sink = MqttSink(target=f"mqtt://127.0.0.1:{broker.port}/home", settings=settings)
        sent: list[str] = []
        began_s = time.monotonic()
        total_s = times * down_s * 1.5
        async with sink:

            async def speak() -> None:
                for number in range(TURNS):
                    await asyncio.sleep(max(0.0, began_s + number * total_s / TURNS - time.monotonic()))
                    event = _now(examples.event(examples.turn(number), seq=number))
                    sent.append(event.id)
                    await sink.send(event)
                    if number % 10 == 0 and number < TURNS // 2:  # the mood is told for the first half only
                        await sink.send(_now(examples.event(examples.emotion(end_s=number), seq=number)))

            speaking = asyncio.create_task(speak(), name="speak")
            for _ in range(times):
                await asyncio.sleep(down_s / 4)
                broker.kill()
                await asyncio.sleep(down_s)
                ear.listening.clear()
                await asyncio.to_thread(broker.start)
                await ear.listening.wait()
            await speaking
            async with asyncio.timeout(60):
                while sink.statistics().waiting:  # noqa: ASYNC110 - nobody tells
                    await asyncio.sleep(0.1)
            async with asyncio.timeout(30):
                while set(sent) - set(ear.turns):  # noqa: ASYNC110
                    await asyncio.sleep(0.1)
        hearing.cancel()
    firsts = list(dict.fromkeys(ear.turns))
    say(
        "broker",
        held=firsts == sent and not ear.stale_s,
        outages=times,
        down_s=down_s,
        turns=len(sent),
        arrived=len(set(ear.turns) & set(sent)),
        twice=len(ear.turns) - len(set(ear.turns)),
        in_order=firsts == sent,
        stale_states=len(ear.stale_s),
        expired=sink.statistics().expired,
        dropped=sink.statistics().dropped,
    )


def _now(event: events.Event) -> events.Event:
    return event.model_copy(update={"time": datetime.now(UTC)})


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--down-s", type=float, default=60.0)
    parser.add_argument("--times", type=int, default=3)
    asked = parser.parse_args()
    logging.basicConfig(level=logging.ERROR)
    with tempfile.TemporaryDirectory() as place:
        asyncio.run(_suffer(down_s=asked.down_s, times=asked.times, folder=Path(place)))
