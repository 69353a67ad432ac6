"""What MQTT never lies about: refusals, age, who is connected, and how long an end may take."""

from __future__ import annotations

import asyncio
import json
import logging
import sqlite3
import subprocess
import sys
import time
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import aiomqtt
import pytest
from paho.mqtt.client import Client as PahoClient

from stream.errors import BrokerUnreachable, SettingsError
from stream.sinks.mqtt.connection import BrokerConnection
from stream.sinks.mqtt.sink import MqttSink
from tests.sinks import examples
from tests.sinks.mqtt.wires import Wire, sink, subscriber, until
from tests.support.mosquitto import Broker
from tests.support.requirements import require

TURN, EMOTION, OUTBOX = "home/kitchen/room/turn", "home/kitchen/room/emotion", "home/kitchen/outbox"


def ids(payloads: list[str]) -> list[str]:
    return [json.loads(payload)["id"] for payload in payloads]


def test_what_an_access_list_refuses_is_counted_and_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def talk() -> None:
        async with subscriber(broker.port) as heard, sink(broker.port) as out:
            for number in range(5):
                await out.send(examples.event(examples.turn(number), seq=number))
            await out.send(examples.event(examples.speaker("S1")))
            await out.send(examples.event(examples.emotion("happy")))
            await heard.until(lambda: bool(heard.payloads("home/kitchen/room/speaker")))
            await until(lambda: out.statistics().waiting == 0)
            await heard.until(
                lambda: json.loads(heard.payloads(OUTBOX)[-1])["refused"] == 6 if heard.payloads(OUTBOX) else False
            )
        counts = out.statistics()
        assert (counts.refused, counts.dropped) == (6, 0), "five turns and an emotion"
        assert out.account().refused == 6
        assert not heard.payloads(TURN)
        assert caplog.text.count("refuses what is published on home/kitchen/room/turn (Not authorized)") == 1

    rules = "topic readwrite #\ntopic deny home/kitchen/room/turn\ntopic deny home/kitchen/room/emotion\n"
    caplog.set_level(logging.WARNING)
    with Broker(tmp_path, rules=rules) as broker:
        asyncio.run(talk())


def test_rolling_state_grows_old_while_the_broker_is_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = [1_000.0]
    monkeypatch.setattr("stream.sinks.mqtt.sink.steady_s", lambda: now_s[0])

    async def talk() -> None:
        async with sink(broker.port, expiry_s=60, reconnect_max_s=0.2) as out:
            out._delivery._clock = lambda: now_s[0]
            await out.send(examples.event(examples.emotion("happy")))
            await out.send(examples.event(examples.turn(1)))
            now_s[0] += 40
            await out.send(examples.event(examples.speaker("S1")))
            now_s[0] += 30  # the emotion is 70 s old, the speaker 30 s
            broker.start()
            await until(lambda: out.statistics().waiting == 0)
            async with subscriber(broker.port) as late:
                await late.until(lambda: bool(late.payloads("home/kitchen/room/speaker")))
                assert not late.payloads(EMOTION)
                (message,) = [m for m in late.messages if str(m.topic) == "home/kitchen/room/speaker"]
                left_s = message.properties.MessageExpiryInterval  # type: ignore[union-attr]
                assert 20 <= left_s <= 30, "it counts from when it was told"
        assert out.statistics().expired == 1

    broker = Broker(tmp_path)
    try:
        asyncio.run(talk())
    finally:
        broker.kill()


def test_two_sinks_of_one_node_live_side_by_side(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def talk() -> None:
        async with subscriber(broker.port) as heard, sink(broker.port) as one, sink(broker.port) as other:
            for number in range(10):
                await one.send(examples.event(examples.turn(number), seq=number, source="a"))
                await other.send(examples.event(examples.turn(number), seq=number, source="b"))
            await heard.until(lambda: len(heard.payloads("home/kitchen/a/turn")) == 10)
            await heard.until(lambda: len(heard.payloads("home/kitchen/b/turn")) == 10)
        assert not caplog.records

    caplog.set_level(logging.WARNING)
    with Broker(tmp_path) as broker:
        asyncio.run(talk())


@pytest.mark.parametrize("how", ["frozen", "accepts and says nothing", "refuses tls"])
def test_an_end_does_not_wait_for_a_broker_that_does_not_answer(tmp_path: Path, how: str) -> None:
    """Measured in its own process: what holds up the end of a loop counts, too."""
    code = """
import asyncio, sys, time
from tests.sinks import examples
from tests.sinks.mqtt.wires import sink, until
async def main():
    out = await sink(int(sys.argv[1]), scheme=sys.argv[2], outbox=sys.argv[3]).__aenter__()
    if sys.argv[4] == "frozen":
        await until(lambda: out._delivery.connected)
        print("connected", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
    out._delivery._began_s -= 60  # it has been away for a minute
    await out.send(examples.event(examples.turn(1)))
    await asyncio.sleep(0.3)
    began = time.monotonic()
    try:
        await out.__aexit__(None, None, None)
    except Exception as error:
        assert "never reached" in str(error), error
    return began
began = asyncio.run(main())
print(time.monotonic() - began)
"""

    def run(port: int, scheme: str, broker: Broker | None) -> float:
        words = [sys.executable, "-c", code, str(port), scheme, str(tmp_path / "box"), how]
        with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            if broker is not None:
                assert process.stdout.readline() == "connected\n"
                broker.freeze()
                process.stdin.write("\n")
                process.stdin.flush()
            return float(process.communicate(timeout=60)[0])

    async def mute() -> float:
        async with Wire(1) as wire:
            wire.hold()
            return await asyncio.to_thread(run, wire.port, "mqtts" if how == "refuses tls" else "mqtt", None)

    if how == "frozen":
        with Broker(tmp_path) as broker:
            took_s = run(broker.port, "mqtt", broker)
    else:
        took_s = asyncio.run(mute())
    assert took_s < 3.0, took_s


def test_what_is_owed_outlives_the_process(tmp_path: Path) -> None:
    async def without_a_broker(first: int) -> None:
        with suppress(BrokerUnreachable):
            async with sink(broker.port, outbox=str(tmp_path / "box")) as out:
                out._delivery._began_s -= 60
                for number in range(first, first + 3):
                    await out.send(examples.event(examples.turn(number), seq=number))
                await out.send(examples.event(examples.emotion()))

    async def with_one() -> None:
        async with subscriber(broker.port) as heard, sink(broker.port, outbox=str(tmp_path / "box")) as out:
            await out.send(examples.event(examples.turn(6), seq=6))
            await heard.until(lambda: len(heard.payloads(TURN)) == 7)
            assert ids(heard.payloads(TURN)) == [f"s/room/{number}" for number in range(7)]
            assert not heard.payloads(EMOTION), "rolling state of an earlier life is worth nothing"

    broker = Broker(tmp_path)
    try:
        asyncio.run(without_a_broker(0))
        asyncio.run(without_a_broker(3))
        (file,) = (tmp_path / "box").glob("*.sqlite")
        assert file.stat().st_mode & 0o077 == 0, "events are for their owner only"
        with closing(sqlite3.connect(file)) as database:
            assert database.execute("SELECT count(*) FROM owed").fetchone() == (6,)
        broker.start()
        asyncio.run(with_one())
        assert not list((tmp_path / "box").iterdir()), "an outbox that owes nothing leaves nothing"
    finally:
        broker.kill()


def test_what_the_outbox_had_to_drop_is_published(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def talk() -> None:
        async with sink(broker.port, outbox=str(tmp_path / "box"), queue_events=3) as out:
            for number in range(10):
                await out.send(examples.event(examples.turn(number), seq=number))
            broker.start()
            await until(lambda: out.statistics().waiting == 0)
            assert out.account().dropped == 7
            async with subscriber(broker.port) as late:
                await late.until(lambda: bool(late.payloads(OUTBOX)))
                told = json.loads(late.payloads(OUTBOX)[0])
                assert told == {"dropped": 7, "refused": 0, "oldest": "s/room/0", "newest": "s/room/6"}
        assert caplog.text.count("its oldest events are dropped") == 1

    broker = Broker(tmp_path)
    try:
        asyncio.run(talk())
    finally:
        broker.kill()


@pytest.mark.parametrize("more", [{"protocol": "3.1.1"}, {"scheme": "mqtt+ws", "websocket_path": "/mqtt"}])
def test_older_brokers_and_websockets_carry_the_same(tmp_path: Path, more: dict[str, Any]) -> None:
    websockets = more.get("scheme") == "mqtt+ws"

    async def talk() -> None:
        port = broker.websocket_port if websockets else broker.port
        async with subscriber(broker.port) as heard, sink(port, **more) as out:
            for number in range(30):
                await out.send(examples.event(examples.turn(number), seq=number))
            await heard.until(lambda: len(heard.payloads(TURN)) == 30)
            assert ids(heard.payloads(TURN)) == [f"s/room/{number}" for number in range(30)]
        assert out.statistics().sent >= 30

    with Broker(tmp_path, websockets=websockets) as broker:
        asyncio.run(talk())


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An authority with a server's and a client's certificate, in PEM files."""
    require("openssl")
    folder = tmp_path_factory.mktemp("authority")

    def openssl(words: str) -> None:
        subprocess.run(["openssl", *words.split()], check=True, capture_output=True, cwd=folder)

    openssl("req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=authority -keyout ca.key -out ca.pem")
    (folder / "names").write_text("subjectAltName=DNS:localhost\n")
    for name, subject, extra in (("server", "localhost", "-extfile names"), ("client", "kitchen", "")):
        openssl(f"req -newkey rsa:2048 -nodes -subj /CN={subject} -keyout {name}.key -out {name}.csr")
        openssl(f"x509 -req -days 2 -in {name}.csr -CA ca.pem -CAkey ca.key -CAcreateserial {extra} -out {name}.pem")
    return folder


def test_a_client_certificate_opens_the_door(tmp_path: Path, authority: Path) -> None:
    async def talk(**more: Any) -> int:
        async with sink(
            broker.port, scheme="mqtts", host="localhost", ca_file=str(authority / "ca.pem"), **more
        ) as out:
            out._delivery._began_s -= 60
            await out.send(examples.event(examples.turn(1)))
            if more:
                await until(lambda: out.statistics().waiting == 0)
        return out.statistics().sent

    own = {"cert_file": str(authority / "client.pem"), "key_file": str(authority / "client.key")}
    with Broker(tmp_path, certificates=authority, client_authority=authority / "ca.pem") as broker:
        assert asyncio.run(talk(**own)) == 1
        with pytest.raises(BrokerUnreachable):
            asyncio.run(talk())
    with pytest.raises(SettingsError, match=r"mqtt\.cert_file: .*nowhere\.pem cannot be used"):
        asyncio.run(talk(cert_file=str(authority / "nowhere.pem")))


def test_a_password_may_come_from_a_file_of_ones_own(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("right-one\n")
    secret.chmod(0o644)

    async def talk() -> int:
        async with sink(broker.port, username="me", password_file=str(secret)) as out:
            await out.send(examples.event(examples.turn(1)))
            await until(lambda: out.statistics().waiting == 0)
        return out.statistics().sent

    with Broker(tmp_path, users={"me": "right-one"}) as broker:
        with pytest.raises(SettingsError, match="others can read"):
            asyncio.run(talk())
        secret.chmod(0o600)
        assert asyncio.run(talk()) == 1
    secret.write_text("")
    with pytest.raises(SettingsError, match="must hold one line"):
        asyncio.run(talk())


def test_cloud_events_wrap_the_native_ones(tmp_path: Path) -> None:
    async def talk() -> None:
        async with subscriber(broker.port) as heard, sink(broker.port, payload="cloudevents") as out:
            event = examples.event(examples.turn(1))
            await out.send(event)
            await heard.until(lambda: bool(heard.payloads(TURN)))
            (message,) = [m for m in heard.messages if str(m.topic) == TURN]
            told = json.loads(heard.payloads(TURN)[0])
            assert message.properties.ContentType == "application/cloudevents+json"  # type: ignore[union-attr]
            assert (told["specversion"], told["id"], told["source"]) == ("1.0", event.id, "urn:tonewatch:kitchen")
            assert (told["type"], told["subject"], told["data"]["id"]) == ("tonewatch.turn.v1", "room", event.id)

    with Broker(tmp_path) as broker:
        asyncio.run(talk())


def test_streams_tell_what_they_do_and_whether_they_are_there(tmp_path: Path) -> None:
    async def talk() -> None:
        async with subscriber(broker.port) as heard, sink(broker.port) as out:
            for number, state in enumerate(["started", "paused", "resumed", "gap", "stalled", "ended"]):
                await out.send(examples.event(examples.stream(state), seq=number))
                topic = "home/kitchen/room/stream"
                await heard.until(lambda many=number + 1, topic=topic: len(heard.payloads(topic)) == many)  # type: ignore[misc]
            await until(lambda: out.statistics().waiting == 0)
        states = [json.loads(payload)["state"] for payload in heard.payloads("home/kitchen/room/state")]
        assert states == ["listening", "paused", "listening", "stalled", "ended"]
        there = heard.payloads("home/kitchen/room/availability")
        assert there == ["online", "online", "online", "offline", "offline"], "a paused stream can be resumed"

    with Broker(tmp_path) as broker:
        asyncio.run(talk())


def test_nothing_is_left_of_streams_and_calls_that_have_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither in memory nor at the broker nor in Home Assistant, however many come and go."""
    now_s = [1_000.0]
    monkeypatch.setattr("stream.sinks.mqtt.sink.steady_s", lambda: now_s[0])
    monkeypatch.setattr("stream.sinks.mqtt.delivery.HOUSEKEEPING_S", 0.05)

    async def converse(out: MqttSink, number: int) -> None:
        name = f"c{number}"
        track: dict[str, Any] = {"source": f"{name}-customer", "call": name, "party": "customer"}
        await out.send(examples.event(examples.stream("started"), **track))
        await out.send(examples.event(examples.emotion(), **track))
        await out.send(examples.event(examples.call(), source=name, call=name))
        await out.send(examples.event(examples.alert(), source=name, call=name))
        await until(lambda: out.statistics().waiting == 0)
        await out.send(examples.event(examples.stream("ended"), **track))
        await out.send(examples.event(examples.call("final"), source=name, call=name))

    async def talk() -> None:
        async with sink(broker.port, discovery_prefix="ha") as out:

            def held() -> tuple[int, int, int]:
                return len(out._outbox._retained), len(out._outbox._published), len(out._ended)

            memory = (0, 0, 0)
            for number in range(60):
                await converse(out, number)
                now_s[0] += 1.0
                if number == 20:
                    await until(lambda: out.statistics().waiting == 0)
                    memory = held()
            await until(lambda: all(late <= early for early, late in zip(memory, held(), strict=True)))
        async with subscriber(broker.port) as late:
            await late.until(lambda: any(str(message.topic).endswith("/info") for message in late.messages))
        kept = {str(message.topic) for message in late.messages if message.retain}
        assert kept <= {f"home/kitchen/{leaf}" for leaf in ("availability", "info")} | {
            "ha/device/tonewatch_kitchen/config"
        }

    with Broker(tmp_path) as broker:
        asyncio.run(talk())


def test_what_ended_while_the_broker_was_away_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = [1_000.0]
    monkeypatch.setattr("stream.sinks.mqtt.sink.steady_s", lambda: now_s[0] + time.monotonic())

    async def talk() -> None:
        with suppress(BrokerUnreachable):
            async with sink(1, discovery_prefix="ha") as out:
                for number in range(50):
                    source = f"s{number}"
                    await out.send(examples.event(examples.stream("started"), source=source))
                    await out.send(examples.event(examples.emotion(), source=source))
                    await out.send(examples.event(examples.stream("ended"), source=source))
                    now_s[0] += 1.0
                assert len(out._outbox._retained) < 40, "those of the last few seconds, and the node's"

    asyncio.run(talk())


def test_a_burst_is_published_without_losing_order(tmp_path: Path) -> None:
    async def talk() -> None:
        async with subscriber(broker.port) as heard, sink(broker.port, outbox=str(tmp_path / "box")) as out:
            began = time.perf_counter()
            for first in range(0, 2_000, 50):
                await out.send_all(
                    [examples.event(examples.turn(number), seq=number) for number in range(first, first + 50)]
                )
            await heard.until(lambda: len(heard.messages) >= 2_002)  # with the greeting
            assert time.perf_counter() - began < 20
            assert ids(heard.payloads(TURN)) == [f"s/room/{number}" for number in range(2_000)]

    with Broker(tmp_path) as broker:
        asyncio.run(talk())


def test_what_is_replaced_in_the_client_is_still_there() -> None:
    for name in ("_create_socket_connection", "_ssl_wrap_socket", "_reset_sockets"):
        assert callable(getattr(PahoClient, name)), name
    assert issubclass(BrokerConnection, aiomqtt.Client)
    assert callable(aiomqtt.Client._on_publish)
