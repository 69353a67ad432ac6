"""Two nodes of one name on one broker: both tell, and the first to stop does not make the other one offline."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any, cast

import pytest

from stream.sinks.mqtt import presence
from stream.sinks.mqtt.connection import BrokerConnection, IncomingMessage
from stream.sinks.mqtt.twins import TELL_AGAIN_S, TwinWatch
from tests.support.mosquitto import Broker
from tests.support.mqtt import mqtt_sink, subscriber
from tests.support.waiting import wait_until

AVAILABILITY = "home/kitchen/availability"


class FakeConnection:
    def __init__(self) -> None:
        self.posted: list[tuple[str, str]] = []

    def post(self, topic: str, payload: str, **_: Any) -> None:
        self.posted.append((topic, payload))


class FakeMessage:
    def __init__(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        self.topic, self.payload, self.retain = topic, payload, retain


class Watched:
    """A watch, its clock, and what it publishes."""

    def __init__(self) -> None:
        self.now_s, self.connection = 0.0, FakeConnection()
        self._watch = TwinWatch(
            name="kitchen", topic="k/{}".format, info='{"session":"own"}', qos=1, clock=lambda: self.now_s
        )

    def observe(self, leaf: str, payload: bytes, *, retain: bool = False) -> list[tuple[str, str]]:
        message = cast("IncomingMessage", FakeMessage(f"k/{leaf}", payload, retain=retain))
        self._watch.observe(cast("BrokerConnection", self.connection), message)
        posted, self.connection.posted = self.connection.posted, []
        return posted


@pytest.mark.parametrize(
    "payload",
    [
        b'{"session":"own"}',
        b"{}",
        b'{"session":1}',
        b"\xff",
        b"[" * 9_000,
        b"[]",
    ],
)
def test_information_of_no_other_running_node_is_none(payload: bytes, caplog: pytest.LogCaptureFixture) -> None:
    assert not Watched().observe("info", payload)
    assert not caplog.records


def test_another_node_is_told_once_a_minute_and_answered(caplog: pytest.LogCaptureFixture) -> None:
    tested = Watched()
    other = b'{"session":"other","stopped":null}'
    assert not tested.observe("info", other, retain=True), "an earlier life may have left it"
    assert tested.observe("info", other) == [("k/info", '{"session":"own"}')]
    assert not tested.observe("info", other), "the answer to the answer"
    assert len(caplog.records) == 1
    tested.now_s = TELL_AGAIN_S
    assert tested.observe("info", other)
    assert len(caplog.records) == 2


def test_who_runs_stays_online_and_is_not_stopped(caplog: pytest.LogCaptureFixture) -> None:
    tested = Watched()
    assert tested.observe("info", b'{"session":"","stopped":"now"}') == [("k/info", '{"session":"own"}')]
    assert not caplog.records
    assert not tested.observe("availability", b"online")
    assert not tested.observe("availability", b"offline", retain=True)
    assert tested.observe("availability", b"offline") == [("k/availability", "online")]


@pytest.mark.slow
def test_two_nodes_of_one_name_tell_and_the_first_to_stop_ends_itself_only(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def check() -> None:
        async with subscriber(broker.port) as received, mqtt_sink(broker.port):
            await received.until(lambda: bool(received.payloads(AVAILABILITY)))
            monkeypatch.setattr(presence, "PROCESS", "another")
            async with mqtt_sink(broker.port):
                await wait_until(lambda: caplog.text.count("another node named 'kitchen'") == 2)
            await received.until(lambda: "offline" in received.payloads(AVAILABILITY))
            await received.until(lambda: received.payloads(AVAILABILITY)[-1] == "online")
        await received.until(lambda: received.payloads(AVAILABILITY)[-1] == "offline")
        await received.until(lambda: '"stopped":null' not in received.payloads("home/kitchen/info")[-1])
        infos = [json.loads(payload) for payload in received.payloads("home/kitchen/info")]
        assert len({info["session"] for info in infos}) == 2
        assert [bool(info["stopped"]) for info in infos[-3:]] == [True, False, True], "one runs on, and stops then"

    with Broker(tmp_path) as broker:
        asyncio.run(check())
