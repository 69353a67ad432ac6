"""MQTT over a wire that is slow, cut, or encrypted."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import subprocess
from pathlib import Path

import pytest

from stream.errors import BrokerUnreachable
from tests.sinks import examples
from tests.sinks.mqtt.wires import Wire, sink, subscriber, until
from tests.support.mosquitto import Broker
from tests.support.requirements import require

TURN, EMOTION, AVAILABILITY = "home/kitchen/room/turn", "home/kitchen/room/emotion", "home/kitchen/availability"


def test_a_broker_killed_in_mid_stream_gets_every_turn_in_order(tmp_path: Path) -> None:
    async def talk() -> None:
        async with Wire(broker.port) as wire, sink(wire.port) as out:
            async with subscriber(broker.port) as before:
                for number in range(20):
                    await out.send(examples.event(examples.turn(number), seq=number))
                await before.until(lambda: len(before.payloads(TURN)) == 20)
                seen = [json.loads(payload)["turn"] for payload in before.payloads(TURN)]
            broker.freeze()
            for number in range(20, 40):
                await out.send(examples.event(examples.turn(number), seq=number))
            await until(lambda: out._delivery._flying > 0)  # in flight when it dies
            wire.hold()
            broker.kill()
            for number in range(40, 60):
                await out.send(examples.event(examples.turn(number), seq=number))
                await out.send(examples.event(examples.emotion(end_s=number), seq=number))
            broker.start()
            async with subscriber(broker.port) as after:
                wire.release()  # not before somebody hears: turns are not retained
                await until(lambda: out.statistics().waiting == 0)
                await after.until(lambda: bool(after.payloads(EMOTION)) and bool(after.payloads(TURN)))
                await after.until(lambda: json.loads(after.payloads(TURN)[-1])["turn"] == "t59")
                later = [json.loads(payload)["turn"] for payload in after.payloads(TURN)]
                assert later == sorted(later, key=lambda turn: int(turn[1:]))
                assert list(dict.fromkeys(seen + later)) == [f"t{number}" for number in range(60)]
                ends_s = [json.loads(payload)["end_s"] for payload in after.payloads(EMOTION)]
                assert ends_s == [59.0], "only the newest state"
                assert after.payloads(AVAILABILITY) == ["online"]
                assert after.payloads("home/kitchen/info"), "what is retained is told again"
        assert out.statistics().dropped == 0

    with Broker(tmp_path) as broker:
        asyncio.run(talk())


def test_a_broker_that_goes_leaves_no_error_that_nobody_looked_at(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def talk() -> None:
        async with sink(broker.port) as out:
            await until(lambda: out._delivery.connected)
            broker.kill()
            await until(lambda: not out._delivery.connected)
        gc.collect()  # asyncio logs an error with its traceback when its future goes unread

    with Broker(tmp_path) as broker:
        asyncio.run(talk())
    gc.collect()
    assert not [record for record in caplog.records if record.name == "asyncio"]


def test_a_lost_socket_fires_the_will_and_the_next_connection_says_online(tmp_path: Path) -> None:
    async def talk() -> None:
        async with subscriber(broker.port) as heard, Wire(broker.port) as wire, sink(wire.port) as out:
            await heard.until(lambda: heard.payloads(AVAILABILITY) == ["online"])
            await out.send(examples.event(examples.emotion("happy")))
            await heard.until(lambda: len(heard.payloads(EMOTION)) == 1)
            wire.cut()
            await heard.until(lambda: heard.payloads(AVAILABILITY) == ["online", "offline", "online"])
            await heard.until(lambda: len(heard.payloads(EMOTION)) == 2)  # rolling state is owed again

    with Broker(tmp_path) as broker:
        asyncio.run(talk())


def test_a_run_shorter_than_the_way_to_the_broker_is_delivered(tmp_path: Path) -> None:
    async def talk() -> None:
        async with Wire(broker.port) as wire:
            wire.hold()
            async with subscriber(broker.port) as heard:
                async with sink(wire.port) as out:
                    await out.send(examples.event(examples.turn(1)))
                    await wire.knocked.wait()
                    asyncio.get_running_loop().call_later(1.0, wire.release)  # the wire's latency, longer than a pause
                await heard.until(lambda: heard.payloads(AVAILABILITY) == ["online", "offline"])
                assert len(heard.payloads(TURN)) == 1

    with Broker(tmp_path) as broker:
        asyncio.run(talk())


def test_closing_ends_a_long_pause(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def talk() -> None:
        async with sink(broker.port, reconnect_max_s=600) as out:
            await out.send(examples.event(examples.turn(1)))
            await until(lambda: "does not take messages" in caplog.text)
            broker.start()
        assert out.statistics().sent == 1

    monkeypatch.setattr("stream.sinks.mqtt.delivery.FIRST_PAUSE_S", 600.0)
    broker = Broker(tmp_path)
    try:
        asyncio.run(talk())
    finally:
        broker.kill()


def test_a_close_that_is_cut_off_leaves_no_task(tmp_path: Path) -> None:
    async def talk() -> None:
        out = await sink(broker.port).__aenter__()
        await out.send(examples.event(examples.turn(1)))
        await until(lambda: out.statistics().sent == 1)
        broker.freeze()
        await out.send(examples.event(examples.turn(2)))
        closing = asyncio.create_task(out.__aexit__(None, None, None), name="closing")
        await asyncio.sleep(0)  # it has begun to wait
        closing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await closing
        assert not [task for task in asyncio.all_tasks() if task.get_name().startswith(("mqtt", "publish"))]

    with Broker(tmp_path) as broker:
        asyncio.run(talk())


def test_a_burst_makes_the_client_say_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def talk() -> None:
        async with sink(broker.port) as out:
            for number in range(200):
                await out.send(examples.event(examples.turn(number), seq=number))
        assert out.statistics().sent == 200

    caplog.set_level(logging.WARNING)
    with Broker(tmp_path) as broker:
        asyncio.run(talk())
    assert not caplog.records


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A self-signed certificate for localhost, `server.pem`, and its key."""
    require("openssl")
    folder = tmp_path_factory.mktemp("certificates")
    words = "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=DNS:localhost"
    files = ["-keyout", str(folder / "server.key"), "-out", str(folder / "server.pem")]
    subprocess.run(["openssl", *words.split(), *files], check=True, capture_output=True)
    return folder


def test_tls_is_trusted_by_its_certificate_only(tmp_path: Path, certificates: Path) -> None:
    async def talk(ca_file: str) -> int:
        async with sink(broker.port, scheme="mqtts", host="localhost", ca_file=ca_file) as out:
            await out.send(examples.event(examples.turn(1)))
        return out.statistics().sent

    with Broker(tmp_path, certificates=certificates) as broker:
        assert asyncio.run(talk(str(certificates / "server.pem"))) == 1
        with pytest.raises(BrokerUnreachable, match=r"was never reached.*CERTIFICATE_VERIFY_FAILED"):
            asyncio.run(talk(""))
        gc.collect()  # a socket that nobody closed would be a warning, and so an error, here
