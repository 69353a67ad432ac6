"""Delivery: acknowledgements, lost connections, and the time a close may take."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from stream.errors import BrokerUnreachable
from stream.sinks.mqtt.limits import DeliveryLimits
from tests.support import examples
from tests.support.mosquitto import Broker
from tests.support.mqtt import FAST_LIMITS, TcpRelay, mqtt_sink, subscriber
from tests.support.waiting import wait_until

pytestmark = pytest.mark.slow

TURN, EMOTION, AVAILABILITY = "home/kitchen/room/turn", "home/kitchen/room/emotion", "home/kitchen/availability"


def test_a_broker_killed_during_a_stream_gets_every_turn_in_order(tmp_path: Path) -> None:
    async def check() -> None:
        async with TcpRelay(broker.port) as relay, mqtt_sink(relay.port) as sink:
            async with subscriber(broker.port) as before:
                for number in range(20):
                    await sink.send(examples.event(examples.turn(number), seq=number))
                await before.until(lambda: len(before.payloads(TURN)) == 20)
                first = [json.loads(payload)["turn"] for payload in before.payloads(TURN)]
            broker.freeze()
            for number in range(20, 40):
                await sink.send(examples.event(examples.turn(number), seq=number))
            await wait_until(lambda: sink._delivery._in_flight > 0)
            relay.hold()
            broker.kill()
            for number in range(40, 60):
                await sink.send(examples.event(examples.turn(number), seq=number))
                await sink.send(examples.event(examples.emotion(end_s=number), seq=number))
            broker.start()
            async with subscriber(broker.port) as after:
                relay.release()  # only with a subscriber, since turns are not retained
                await wait_until(lambda: sink.statistics().waiting == 0)
                await after.until(lambda: bool(after.payloads(EMOTION)) and bool(after.payloads(TURN)))
                await after.until(lambda: json.loads(after.payloads(TURN)[-1])["turn"] == "t59")
                later = [json.loads(payload)["turn"] for payload in after.payloads(TURN)]
                assert later == sorted(later, key=lambda turn: int(turn[1:]))
                assert list(dict.fromkeys(first + later)) == [f"t{number}" for number in range(60)]
                ends_s = [json.loads(payload)["end_s"] for payload in after.payloads(EMOTION)]
                assert ends_s == [59.0], "only the newest state"
                assert after.payloads(AVAILABILITY) == ["online"]
                assert after.payloads("home/kitchen/info"), "retained messages are published again"
        assert sink.statistics().dropped == 0

    with Broker(tmp_path) as broker:
        asyncio.run(check())


def test_a_lost_broker_leaves_no_unread_exception(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def check() -> None:
        async with mqtt_sink(broker.port) as sink:
            await wait_until(lambda: sink._delivery.connected)
            broker.kill()
            await wait_until(lambda: not sink._delivery.connected)
        gc.collect()  # asyncio logs an exception with its traceback when its future is deleted unread

    with Broker(tmp_path) as broker:
        asyncio.run(check())
    gc.collect()
    assert not [record for record in caplog.records if record.name == "asyncio"]


def test_a_lost_socket_triggers_the_will_and_the_next_connection_publishes_online(tmp_path: Path) -> None:
    async def check() -> None:
        async with subscriber(broker.port) as received, TcpRelay(broker.port) as relay, mqtt_sink(relay.port) as sink:
            await received.until(lambda: received.payloads(AVAILABILITY) == ["online"])
            await sink.send(examples.event(examples.emotion("happy")))
            await received.until(lambda: len(received.payloads(EMOTION)) == 1)
            relay.cut()
            await received.until(lambda: received.payloads(AVAILABILITY) == ["online", "offline", "online"])
            await received.until(lambda: len(received.payloads(EMOTION)) == 2)  # rolling state is published again

    with Broker(tmp_path) as broker:
        asyncio.run(check())


def test_a_run_shorter_than_the_brokers_response_time_is_delivered(tmp_path: Path) -> None:
    async def check() -> None:
        limits = DeliveryLimits(idle_timeout_s=0.0)
        async with TcpRelay(broker.port) as relay, subscriber(broker.port) as received:
            relay.hold()
            sink = await mqtt_sink(relay.port, limits=limits).__aenter__()
            await sink.send(examples.event(examples.turn(1)))
            await relay.accepted.wait()
            closing = asyncio.create_task(sink.__aexit__(None, None, None), name="closing")
            await asyncio.sleep(0)  # the close has begun
            relay.release()
            await closing
            await received.until(lambda: received.payloads(AVAILABILITY) == ["online", "offline"])
            assert len(received.payloads(TURN)) == 1

    with Broker(tmp_path) as broker:
        asyncio.run(check())


def test_a_close_ends_a_long_pause(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def check() -> None:
        limits = DeliveryLimits(min_backoff_s=600.0)
        async with mqtt_sink(broker.port, limits=limits, reconnect_max_s=600) as sink:
            await sink.send(examples.event(examples.turn(1)))
            await wait_until(lambda: "cannot connect (Connection refused); retrying" in caplog.text)
            broker.start()
        assert sink.statistics().sent == 1

    broker = Broker(tmp_path)
    try:
        asyncio.run(check())
    finally:
        broker.kill()


def test_a_cancelled_close_leaves_no_task(tmp_path: Path) -> None:
    async def check() -> None:
        sink = await mqtt_sink(broker.port, limits=FAST_LIMITS).__aenter__()
        await sink.send(examples.event(examples.turn(1)))
        await wait_until(lambda: sink.statistics().sent == 1)
        broker.freeze()
        await sink.send(examples.event(examples.turn(2)))
        closing = asyncio.create_task(sink.__aexit__(None, None, None), name="closing")
        await asyncio.sleep(0)  # the close has begun
        closing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await closing
        assert not [task for task in asyncio.all_tasks() if task.get_name().startswith("mqtt")]

    with Broker(tmp_path) as broker:
        asyncio.run(check())


@pytest.mark.parametrize("broker_state", ["frozen", "silent", "silent with TLS"])
def test_a_close_does_not_wait_for_a_broker_that_does_not_answer(tmp_path: Path, broker_state: str) -> None:
    """Measured in a process of its own, to include what delays the end of the event loop."""
    code = """
import asyncio, sys, time
from stream.errors import BrokerUnreachable
from stream.sinks.mqtt.limits import DeliveryLimits
from tests.support import examples
from tests.support.mqtt import mqtt_sink
from tests.support.waiting import wait_until
async def main():
    limits = DeliveryLimits(flush_timeout_s=0.2)
    sink = await mqtt_sink(int(sys.argv[1]), scheme=sys.argv[2], outbox=sys.argv[3], limits=limits).__aenter__()
    if sys.argv[4] == "frozen":
        await wait_until(lambda: sink._delivery.connected)
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    await sink.send(examples.event(examples.turn(1)))
    began_s = time.monotonic()
    try:
        await sink.__aexit__(None, None, None)
    except BrokerUnreachable as error:
        assert "could not reach" in str(error), error
    return began_s
began_s = asyncio.run(main())
print(time.monotonic() - began_s)
"""

    async def measure(port: int, scheme: str, make_unresponsive: Callable[[], Awaitable[object]]) -> float:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", code, str(port), scheme, str(tmp_path / "box"), broker_state,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        assert process.stdout is not None
        assert await process.stdout.readline() == b"ready\n"
        await make_unresponsive()
        output, _ = await process.communicate(b"\n")
        return float(output)

    async def check() -> float:
        if broker_state == "frozen":
            with Broker(tmp_path) as broker:
                return await measure(broker.port, "mqtt", lambda: asyncio.to_thread(broker.freeze))
        async with TcpRelay(1) as relay:
            relay.hold()
            return await measure(relay.port, "mqtts" if "TLS" in broker_state else "mqtt", relay.accepted.wait)

    took_s = asyncio.run(check())
    assert took_s < 3.0, took_s


def test_an_unreachable_broker_is_reported_at_the_end(tmp_path: Path) -> None:
    async def check() -> None:
        async with mqtt_sink(Broker(tmp_path).port, limits=FAST_LIMITS) as sink:
            await sink.send(examples.event(examples.turn(1)))

    with pytest.raises(BrokerUnreachable, match=r"could not reach .*1 messages not delivered"):
        asyncio.run(check())


def test_a_burst_causes_no_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def check() -> None:
        async with mqtt_sink(broker.port) as sink:
            for number in range(200):
                await sink.send(examples.event(examples.turn(number), seq=number))
        assert sink.statistics().sent == 200

    caplog.set_level(logging.WARNING)
    with Broker(tmp_path) as broker:
        asyncio.run(check())
    assert not caplog.records
