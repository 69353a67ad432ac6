"""A topic that the broker denies, among ten that it allows, for a minute.

    python -m scripts.faults.denied --seconds 60

On mosquitto with an access list (MQTT 5 and 3.1.1), and on a broker that closes the connection on a denied topic, with
and without a reason code. Every message of an allowed topic must arrive once, with three reconnects at most.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import tempfile
from collections import Counter
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from scripts.faults.report import print_result
from stream.settings import Settings
from stream.sinks.mqtt.refusals import NOT_AUTHORIZED
from stream.sinks.mqtt.sink import MqttSink
from tests.support import examples
from tests.support.mosquitto import Broker
from tests.support.mqtt import Subscriber, subscriber
from tests.support.strict_broker import StrictBroker

ROOMS = [f"room{number}" for number in range(10)]
DENIED = "home/n/room3/turn"
EVENTS_PER_S = 20
MAX_RECONNECTS = 3


class _Log(logging.Handler):
    """Counts lost connections."""

    def __init__(self) -> None:
        super().__init__()
        self.lost = 0

    def emit(self, record: logging.LogRecord) -> None:
        self.lost += "connection lost" in record.getMessage()


async def _measure(*, seconds: float, protocol: str, code: int | None, mosquitto: Path | None) -> dict[str, Any]:
    """Return the figures of one broker."""
    log = _Log()
    logger = logging.getLogger("stream.sinks.mqtt.delivery")
    logger.setLevel(logging.WARNING)
    logger.addHandler(log)
    settings = Settings.model_validate({"node": "n", "mqtt": {"outbox": "", "protocol": protocol}})
    async with AsyncExitStack() as stack:
        received: Subscriber | None = None
        strict: StrictBroker | None = None
        if mosquitto is not None:
            broker = stack.enter_context(Broker(mosquitto, rules=f"topic readwrite #\ntopic deny {DENIED}\n"))
            port, received = broker.port, await stack.enter_async_context(subscriber(broker.port))
        else:
            strict = await stack.enter_async_context(StrictBroker(refuses=lambda topic, _: topic == DENIED, code=code))
            port = strict.port
        sent = 0
        async with MqttSink(target=f"mqtt://127.0.0.1:{port}/home", settings=settings) as sink:
            for number in range(round(seconds * EVENTS_PER_S / len(ROOMS))):
                for room in ROOMS:
                    await sink.send(examples.event(examples.turn(number), seq=number, source=room))
                    sent += room != "room3"
                await asyncio.sleep(len(ROOMS) / EVENTS_PER_S)
            refused = sink.counters().refused
        payloads = (
            [one.payload for one in strict.publications if one.topic.endswith("/turn")]
            if strict is not None
            else [bytes(one.payload) for one in received.messages if str(one.topic).endswith("/turn")]  # type: ignore[union-attr]
        )
    logger.removeHandler(log)
    ids = Counter(json.loads(payload)["id"] for payload in payloads)
    twice = sum(count - 1 for count in ids.values())
    return {
        "broker": f"{'mosquitto' if mosquitto is not None else f'closes the connection, code {code}'}, MQTT {protocol}",
        "reconnects": log.lost,
        "allowed": sent,
        "arrived": len(ids),
        "twice": twice,
        "refused": refused,
    }


async def _measure_all(seconds: float) -> None:
    figures = []
    for protocol in ("5", "3.1.1"):
        with tempfile.TemporaryDirectory() as place:
            figures.append(await _measure(seconds=seconds, protocol=protocol, code=None, mosquitto=Path(place)))
        figures.append(await _measure(seconds=seconds, protocol=protocol, code=None, mosquitto=None))
    figures.append(await _measure(seconds=seconds, protocol="5", code=NOT_AUTHORIZED, mosquitto=None))
    held = all(
        one["reconnects"] <= MAX_RECONNECTS and one["arrived"] == one["allowed"] and not one["twice"] for one in figures
    )
    print_result("denied", held=held, seconds=seconds, brokers=figures)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    logging.basicConfig(level=logging.ERROR)
    asyncio.run(_measure_all(parser.parse_args().seconds))
