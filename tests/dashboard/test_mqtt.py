"""A dashboard fed by a real mosquitto, with tonewatch's own sink as the publisher."""

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
from hypothesis import strategies as st

from stream import events
from stream.dashboard.feed import Feed
from stream.dashboard.mqtt import MqttFeed
from stream.dashboard.wall import MAX_NODES
from stream.errors import SettingsError
from stream.settings import MqttSettings, Settings
from tests.dashboard.scenes import Scene
from tests.support import examples
from tests.support.acceleration import run_accelerated
from tests.support.mosquitto import Broker
from tests.support.mqtt import mqtt_sink
from tests.support.waiting import wait_until


def cards(feed: Feed) -> dict[str, Any]:
    message: dict[str, Any] = json.loads(feed.wall.message())
    return {card["name"]: card for card in message["cards"]}


def nodes(feed: Feed) -> dict[str, Any]:
    return {node["node"]: node for node in json.loads(feed.wall.message())["nodes"]}


@asynccontextmanager
async def connected_feed(
    port: int, *, scheme: str = "mqtt", host: str = "127.0.0.1", **mqtt: Any
) -> AsyncIterator[Feed]:
    feed = Feed()
    settings = Settings(mqtt=MqttSettings.model_validate({"reconnect_max_s": 0.5, **mqtt}))
    reader = MqttFeed(target=f"{scheme}://{host}:{port}/home", settings=settings, feed=feed)
    running = asyncio.create_task(reader.run())
    try:
        yield feed
    finally:
        reader.stop()
        await running


def test_dashboard_shows_what_nodes_publish(tmp_path: Path) -> None:
    async def check() -> None:
        scene = Scene("lobby")
        async with connected_feed(broker.port) as feed, mqtt_sink(broker.port) as sink:
            await wait_until(lambda: nodes(feed).get("kitchen", {}).get("version"))  # from a retained message
            await sink.send(scene.speaker("Alice", 2.0, enrolled=True))
            await sink.send(scene.emotion("angry", 3.0, speaker="Alice"))
            await sink.send(examples.event(examples.health(), source="node"))
            await wait_until(lambda: cards(feed).get("lobby", {}).get("emotion") is not None)
            assert cards(feed)["lobby"]["speaker"]["name"] == "Alice"
            assert cards(feed)["lobby"]["emotion"]["label"] == "angry"
            await wait_until(lambda: nodes(feed)["kitchen"]["health"] is not None)
        async with connected_feed(broker.port) as late:  # the retained state, and the node's offline message
            await wait_until(lambda: "lobby" in cards(late) and not nodes(late)["kitchen"]["online"])
            assert cards(late)["lobby"]["state"] == "offline"

    with Broker(tmp_path) as broker:
        asyncio.run(check())


async def check_delivery(broker: Broker, port: int, **options: Any) -> None:
    """Whether an event published at the broker reaches a feed that connects with `options`."""
    publisher = {name: value for name, value in options.items() if name not in ("scheme", "protocol")}
    async with connected_feed(port, **options) as feed:
        secure: dict[str, Any] = {"scheme": "mqtts"} if options.get("scheme") == "mqtts" else {}
        async with mqtt_sink(broker.port, **secure, **publisher) as sink:
            await sink.send(Scene("lobby").speaker("Alice", 2.0))
            await wait_until(lambda: "lobby" in cards(feed))


@pytest.mark.slow
@pytest.mark.parametrize("options", [{"protocol": "3.1.1"}, {"scheme": "mqtt+ws", "websocket_path": "/mqtt"}])
def test_protocol_3_and_websockets(tmp_path: Path, options: dict[str, Any]) -> None:
    websockets = "scheme" in options
    with Broker(tmp_path, websockets=websockets) as broker:
        asyncio.run(check_delivery(broker, broker.websocket_port if websockets else broker.port, **options))


@pytest.mark.slow
def test_client_certificate(tmp_path: Path, authority: Path) -> None:
    files = {"ca_file": "ca.pem", "cert_file": "client.pem", "key_file": "client.key"}
    options = {name: str(authority / file) for name, file in files.items()}
    with Broker(tmp_path, certificates=authority, client_authority=authority / "ca.pem") as broker:
        asyncio.run(check_delivery(broker, broker.port, scheme="mqtts", host="localhost", **options))


def test_password_file(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("right-one\n")
    secret.chmod(0o644)
    options = {"username": "me", "password_file": str(secret)}
    with Broker(tmp_path, users={"me": "right-one"}) as broker:
        with pytest.raises(SettingsError, match="readable by others"):
            asyncio.run(
                MqttFeed(
                    target=f"mqtt://127.0.0.1:{broker.port}/home",
                    settings=Settings(mqtt=MqttSettings.model_validate(options)),
                    feed=Feed(),
                ).run()
            )
        secret.chmod(0o600)
        asyncio.run(check_delivery(broker, broker.port, **options))


def test_unusable_certificate_is_rejected() -> None:
    settings = Settings(mqtt=MqttSettings(ca_file="/nowhere.pem"))
    with pytest.raises(SettingsError, match=r"mqtt\.ca_file .*nowhere\.pem"):
        asyncio.run(MqttFeed(target="mqtts://127.0.0.1/home", settings=settings, feed=Feed()).run())


def test_wrong_password_is_reported_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def check() -> None:
        async with connected_feed(broker.port, username="me", password="wrong-one"):
            await wait_until(lambda: caplog.records)
            await asyncio.sleep(5)  # of the fast clock: several attempts

    with Broker(tmp_path, users={"me": "right-one"}) as broker:
        run_accelerated(check())
    assert ["retrying" in record.getMessage() for record in caplog.records] == [True]


def test_restarted_broker_is_read_again(tmp_path: Path) -> None:
    async def check() -> None:
        async with connected_feed(broker.port) as feed:
            for name in ("first", "second"):
                broker.start()
                async with aiomqtt.Client("127.0.0.1", broker.port) as client:
                    payload = events.to_json(Scene(name).speaker("S1", 1.0))
                    await client.publish(f"home/hall/{name}/speaker", payload, retain=True)
                    await wait_until(lambda name=name: name in cards(feed))  # type: ignore[misc]
                broker.kill()

    broker = Broker(tmp_path)
    run_accelerated(check())


@pytest.mark.slow
def test_all_retained_messages_are_read(tmp_path: Path) -> None:
    """After a subscription they arrive at once, more of them than other connections of tonewatch queue."""

    async def check() -> None:
        async with aiomqtt.Client("127.0.0.1", broker.port) as client:
            for number in range(300):
                payload = events.to_json(Scene(f"desk-{number}").speaker("S1", 1.0))
                await client.publish(f"home/hall/desk-{number}/speaker", payload, retain=True)
        async with connected_feed(broker.port) as feed:
            await wait_until(lambda: len(cards(feed)) == 300)

    with Broker(tmp_path) as broker:
        asyncio.run(check())


def test_invalid_messages_are_counted_and_change_nothing(caplog: pytest.LogCaptureFixture) -> None:
    feed = Feed()
    reader = MqttFeed(target="mqtt://127.0.0.1/home", settings=Settings(), feed=feed)
    valid = events.to_json(Scene("lobby").speaker("S1", 1.0)).encode()
    unknown_type = json.loads(valid) | {"type": "weather"}
    for payload in (
        b"nonsense",
        b"[]",
        b"{}",
        b"[" * 5_000,
        b"\xff\xfe",
        b'{"type":"speaker"}',
        valid[:-9],
        b"x" * 100_000,
        json.dumps(unknown_type).encode(),
    ):
        reader.take("home/hall/lobby/speaker", payload)
    assert reader.rejected == 9
    assert len(caplog.records) == 1  # the first one is logged
    for topic in ("home/hall/lobby/weather", "home", "home/hall", "elsewhere/hall/lobby/speaker/more/levels"):
        reader.take(topic, b"sunny")
    reader.take("home/hall/lobby/speaker", b"")  # a retained message was cleared
    assert reader.rejected == 9
    assert cards(feed) == {}


def test_unknown_fields_of_newer_nodes_are_ignored() -> None:
    feed = Feed()
    reader = MqttFeed(target="mqtt://127.0.0.1/home", settings=Settings(), feed=feed)
    newer = json.loads(events.to_json(Scene("lobby").speaker("S1", 1.0))) | {"weather": {"sky": "grey"}}
    reader.take("home/hall/lobby/speaker", json.dumps(newer).encode())
    assert cards(feed)["lobby"]["speaker"]["name"] == "S1"


def test_nodes_beyond_the_limit_are_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    feed = Feed()
    reader = MqttFeed(target="mqtt://127.0.0.1/home", settings=Settings(), feed=feed)
    for number in range(MAX_NODES + 2):
        reader.take(f"home/node-{number}/availability", b"online")
    assert len(nodes(feed)) == MAX_NODES
    assert [record.getMessage() for record in caplog.records] == [
        f"the dashboard shows at most {MAX_NODES} nodes; ignoring node-{MAX_NODES} and further ones"
    ]


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(topic=st.text(max_size=30), payload=st.binary(max_size=60))
def test_arbitrary_messages_raise_nothing(topic: str, payload: bytes) -> None:
    feed = Feed()
    reader = MqttFeed(target="mqtt://127.0.0.1/home", settings=Settings(), feed=feed)
    for name in (topic, f"home/hall/{topic}", "home/hall/lobby/speaker", "home/hall/availability", "home/hall/info"):
        reader.take(name, payload)
    json.loads(feed.wall.message())


def test_invalid_target_is_rejected() -> None:
    with pytest.raises(SettingsError, match="invalid broker address"):
        MqttFeed(target="http://x", settings=Settings(), feed=Feed())
