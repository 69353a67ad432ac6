"""A page fed by a broker: real mosquitto, our own sink on the other side."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiomqtt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from stream import events
from stream.dashboard.feed import Feed
from stream.dashboard.mqtt import MqttFeed
from stream.errors import SettingsError
from stream.settings import MqttSettings, Settings
from tests.dashboard.scenes import Scene
from tests.support import examples
from tests.support.hurry import run_hastily
from tests.support.mosquitto import Broker
from tests.support.mqtt import mqtt_sink
from tests.support.waiting import wait_until

SETTINGS = Settings(mqtt=MqttSettings(reconnect_max_s=0.5))


def wall(feed: Feed) -> dict[str, Any]:
    message: dict[str, Any] = json.loads(feed.wall.message())
    return {card["name"]: card for card in message["cards"]}


def nodes(feed: Feed) -> dict[str, Any]:
    return {node["node"]: node for node in json.loads(feed.wall.message())["nodes"]}


@asynccontextmanager
async def watching(port: int) -> AsyncIterator[Feed]:
    feed = Feed()
    remote = MqttFeed(target=f"mqtt://127.0.0.1:{port}/home", settings=SETTINGS, feed=feed)
    reading = asyncio.create_task(remote.run())
    yield feed
    remote.stop()
    await reading


def test_one_page_shows_what_nodes_publish(tmp_path: Path) -> None:
    async def main() -> None:
        scene = Scene("lobby")
        async with watching(broker.port) as feed, mqtt_sink(broker.port) as sink:
            await wait_until(lambda: nodes(feed).get("kitchen", {}).get("version"))  # what retained messages tell
            await sink.send(scene.speaker("Alice", 2.0, enrolled=True))
            await sink.send(scene.emotion("angry", 3.0, who="Alice"))
            await sink.send(examples.event(examples.health(), source="node"))
            await wait_until(lambda: wall(feed).get("lobby", {}).get("mood") is not None)
            assert wall(feed)["lobby"]["who"]["name"] == "Alice"
            assert wall(feed)["lobby"]["mood"]["label"] == "angry"
            await wait_until(lambda: nodes(feed)["kitchen"]["health"] is not None)
        async with watching(broker.port) as late:  # it knows the last state at once, and that the node said good-bye
            await wait_until(lambda: "lobby" in wall(late) and not nodes(late)["kitchen"]["online"])
            assert wall(late)["lobby"]["state"] == "offline"

    with Broker(tmp_path) as broker:
        asyncio.run(main())


def test_a_broker_that_comes_back_is_read_again(tmp_path: Path) -> None:
    async def main() -> None:
        async with watching(broker.port) as feed:
            for name in ("first", "second"):
                broker.start()
                async with aiomqtt.Client("127.0.0.1", broker.port) as client:
                    payload = events.to_json(Scene(name).speaker("S1", 1.0))
                    await client.publish(f"home/hall/{name}/speaker", payload, retain=True)
                    await wait_until(lambda name=name: name in wall(feed))  # type: ignore[misc]
                broker.kill()

    broker = Broker(tmp_path)
    run_hastily(main())


def test_what_is_no_event_is_counted_and_harms_nobody(caplog: pytest.LogCaptureFixture) -> None:
    feed = Feed()
    remote = MqttFeed(target="mqtt://127.0.0.1/home", settings=SETTINGS, feed=feed)
    good = events.to_json(Scene("lobby").speaker("S1", 1.0)).encode()
    newer = json.loads(good) | {"mood_ring": {"colour": "teal"}, "id": "s/lobby/1"}
    for payload in (
        b"nonsense",
        b"[]",
        b"{}",
        b"[" * 5_000,
        b"\xff\xfe",
        b'{"type":"speaker"}',
        good[:-9],
        b"x" * 100_000,
    ):
        remote.take("home/hall/lobby/speaker", payload)
    assert remote.refused == 8
    assert len(caplog.records) == 1  # said once, not at every message
    for topic in ("home/hall/lobby/weather", "home", "home/hall", "elsewhere/hall/lobby/speaker/more/levels"):
        remote.take(topic, b"sunny")
    remote.take("home/hall/lobby/speaker", b"")  # a retained message that was cleared
    assert remote.refused == 8
    remote.take("home/hall/lobby/speaker", json.dumps(newer).encode())  # a node that tells more than we know
    assert wall(feed)["lobby"]["who"]["name"] == "S1"


@settings(max_examples=300, deadline=None)
@given(topic=some.text(max_size=30), payload=some.binary(max_size=60))
def test_no_bytes_break_the_reader(topic: str, payload: bytes) -> None:
    feed = Feed()
    remote = MqttFeed(target="mqtt://127.0.0.1/home", settings=SETTINGS, feed=feed)
    for where in (topic, f"home/hall/{topic}", "home/hall/lobby/speaker", "home/hall/availability", "home/hall/info"):
        remote.take(where, payload)
    json.loads(feed.wall.message())


def test_a_target_that_is_none_is_refused() -> None:
    with pytest.raises(SettingsError, match="is no broker"):
        MqttFeed(target="http://x", settings=SETTINGS, feed=Feed())
