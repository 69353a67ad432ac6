"""A broker that is killed for a minute while turns of one or many streams are sent, three times over.

    python -m scripts.faults.broker --down-s 60 --times 3
    python -m scripts.faults.broker --down-s 1 --times 20 --streams 100 --turns 2000

Every turn must arrive at least once, with one duplicate an outage at most, first arrivals in order, and no rolling
state older than its expiry may arrive. A subscriber on a separate connection receives everything; mosquitto is killed
with SIGKILL and keeps nothing.
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

from scripts.faults.report import print_result
from stream import events
from stream.settings import Settings
from stream.sinks.mqtt.sink import MqttSink
from tests.support import examples
from tests.support.mosquitto import Broker


class TurnSubscriber:
    """Receives everything that is published to the broker, and reconnects after each outage."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.turns: list[str] = []
        self.stale_s: list[float] = []
        self.subscribed = asyncio.Event()

    async def receive(self, *, expiry_s: float) -> None:
        """Receive until cancelled."""
        while True:
            with suppress(aiomqtt.MqttError):
                async with aiomqtt.Client("127.0.0.1", self._port, protocol=aiomqtt.ProtocolVersion.V5) as client:
                    await client.subscribe("#", qos=0)  # it sends nothing that a killed broker leaves unread: no reset
                    self.subscribed.set()
                    async for message in client.messages:
                        self._note(message, expiry_s)
            self.subscribed.clear()
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


async def _measure(*, down_s: float, times: int, streams: int, turns: int, folder: Path) -> None:
    expiry_s = max(10, int(down_s / 2))  # state published before an outage expires during it
    settings = Settings.model_validate(
        {"node": "n", "mqtt": {"outbox": str(folder / "box"), "expiry_s": expiry_s, "reconnect_max_s": 2}}
    )
    with Broker(folder) as broker:
        subscriber = TurnSubscriber(broker.port)
        receiving = asyncio.create_task(subscriber.receive(expiry_s=expiry_s), name="subscriber")
        await subscriber.subscribed.wait()
        sink = MqttSink(target=f"mqtt://127.0.0.1:{broker.port}/home", settings=settings)
        sent: list[str] = []
        began_s = time.monotonic()
        total_s = times * down_s * 1.5
        async with sink:

            async def send_events() -> None:
                for number in range(turns):
                    await asyncio.sleep(max(0.0, began_s + number * total_s / turns - time.monotonic()))
                    source = f"room{number % streams}"
                    event = _now(examples.event(examples.turn(number), seq=number, source=source))
                    sent.append(event.id)
                    await sink.send(event)
                    if number % 10 == 0 and number < turns // 2:  # emotions in the first half only
                        await sink.send(_now(examples.event(examples.emotion(end_s=number), seq=number, source=source)))

            sending = asyncio.create_task(send_events(), name="send")
            for _ in range(times):
                await asyncio.sleep(down_s / 4)
                broker.kill()
                await asyncio.sleep(down_s)
                subscriber.subscribed.clear()
                await asyncio.to_thread(broker.start)
                await subscriber.subscribed.wait()
            await sending
            async with asyncio.timeout(60):
                while sink.statistics().waiting:  # noqa: ASYNC110 - the sink signals nothing
                    await asyncio.sleep(0.1)
            with suppress(TimeoutError):
                async with asyncio.timeout(30):
                    while set(sent) - set(subscriber.turns):  # noqa: ASYNC110
                        await asyncio.sleep(0.1)
        receiving.cancel()
    firsts = list(dict.fromkeys(subscriber.turns))
    twice = len(subscriber.turns) - len(firsts)
    print_result(
        "broker",
        held=firsts == sent and not subscriber.stale_s and twice <= times,
        outages=times,
        down_s=down_s,
        streams=streams,
        turns=len(sent),
        arrived=len(set(subscriber.turns) & set(sent)),
        twice=twice,
        in_order=firsts == sent,
        stale_states=len(subscriber.stale_s),
        expired=sink.statistics().expired,
        dropped=sink.statistics().dropped,
    )


def _now(event: events.Event) -> events.Event:
    return event.model_copy(update={"time": datetime.now(UTC)})


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--down-s", type=float, default=60.0)
    parser.add_argument("--times", type=int, default=3)
    parser.add_argument("--streams", type=int, default=1)
    parser.add_argument("--turns", type=int, default=200)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.ERROR)
    with tempfile.TemporaryDirectory() as place:
        asyncio.run(
            _measure(
                down_s=arguments.down_s,
                times=arguments.times,
                streams=arguments.streams,
                turns=arguments.turns,
                folder=Path(place),
            )
        )
