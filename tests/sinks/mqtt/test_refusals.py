"""Brokers that refuse: by reason code, by announced limits, or by closing the connection."""

from __future__ import annotations

import asyncio
import json
import logging
from collections import Counter
from dataclasses import replace

import pytest

from stream.sinks.mqtt.limits import DeliveryLimits
from stream.sinks.mqtt.refusals import (
    ANSWER_WINDOW_S,
    CULPRIT_WINDOW_S,
    DENIED_SOURCES,
    MAX_STRIKES,
    NOT_AUTHORIZED,
    PACKET_TOO_LARGE,
    QUOTA_EXCEEDED,
    RETRY_S,
    Packet,
    Refusals,
    acknowledgements,
)
from stream.sinks.mqtt.sink import MqttSink
from tests.support import examples
from tests.support.mqtt import mqtt_sink
from tests.support.strict_broker import StrictBroker
from tests.support.waiting import wait_until

SERVER_SHUTTING_DOWN = 0x8B
LIMITS = DeliveryLimits(min_backoff_s=0.01, settle_s=0.005, housekeeping_s=0.02, quota_pauses_s=(0.0, 0.0))
ROOMS = [f"room{number}" for number in range(10)]
DENIED = "home/kitchen/room3/turn"


class Clock:
    """Seconds set by the test."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def packet(topic: str, *, size: int = 100, sent_s: float = 100.0) -> Packet:
    return Packet(topic, "{}", size, sent_s)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def refusals(clock: Clock) -> Refusals:
    return Refusals(clock=clock)


def denied(refusals: Refusals, topic: str, *, size: int = 100) -> bool:
    return bool(refusals.verdict(topic, "{}", size))


def accept(refusals: Refusals, one: Packet) -> None:
    refusals.acknowledged(one)
    refusals.settled()


def test_the_packet_that_was_alone_twice_is_set_aside(refusals: Refusals) -> None:
    refusals.closed([packet("a"), packet("b")], code=0)
    assert refusals.is_suspect("a")
    assert refusals.is_suspect("b")
    accept(refusals, packet("a"))
    assert not refusals.is_suspect("a")
    for strike in range(MAX_STRIKES):
        assert not denied(refusals, "b"), strike
        refusals.closed([packet("b")], code=0)
    assert denied(refusals, "b")
    assert not denied(refusals, "a")
    assert not refusals.has_suspects


def test_a_reason_about_the_packet_is_enough_once(refusals: Refusals) -> None:
    refusals.closed([packet("a")], code=NOT_AUTHORIZED)
    assert denied(refusals, "a")


@pytest.mark.parametrize("code", [SERVER_SHUTTING_DOWN, QUOTA_EXCEEDED])
def test_other_reasons_suspect_nobody(refusals: Refusals, code: int) -> None:
    refusals.closed([packet("a"), packet("b")], code=code)
    assert not refusals.has_suspects


def test_a_connection_that_is_lost_later_was_not_closed_for_the_packet(refusals: Refusals, clock: Clock) -> None:
    clock.now_s += CULPRIT_WINDOW_S
    refusals.closed([packet("a")], code=0)
    assert not refusals.has_suspects


def test_a_packet_refused_just_before_the_connection_was_closed_is_its_reason(refusals: Refusals) -> None:
    refusals.refused(packet("a"), code=NOT_AUTHORIZED)
    refusals.closed([packet("a"), packet("b")], code=0)
    assert denied(refusals, "a")
    assert not denied(refusals, "b")


def test_a_broker_may_acknowledge_a_packet_before_it_closes_the_connection_for_it(refusals: Refusals) -> None:
    for _ in range(MAX_STRIKES):
        refusals.acknowledged(packet("a"))
        refusals.closed([], code=0)
    assert denied(refusals, "a")


def test_an_acknowledgement_long_before_the_end_suspects_nobody(refusals: Refusals, clock: Clock) -> None:
    refusals.acknowledged(packet("a"))
    clock.now_s += 2 * ANSWER_WINDOW_S
    refusals.closed([], code=0)
    assert not refusals.has_suspects


def test_a_refused_packet_alone_denies_no_topic(refusals: Refusals, clock: Clock) -> None:
    refusals.refused(packet("a"), code=NOT_AUTHORIZED)
    clock.now_s += CULPRIT_WINDOW_S
    refusals.closed([packet("b")], code=0)
    assert not denied(refusals, "a")


def test_on_a_topic_that_was_accepted_before_it_was_the_size(refusals: Refusals) -> None:
    accept(refusals, packet("a", size=500))
    accept(refusals, packet("b", size=700))
    refusals.closed([packet("a", size=900)], code=NOT_AUTHORIZED)
    assert denied(refusals, "a", size=900)
    assert denied(refusals, "c", size=1_000)
    assert not denied(refusals, "a", size=500)


def test_a_packet_that_is_not_the_largest_is_set_aside_alone(refusals: Refusals) -> None:
    accept(refusals, packet("a", size=500))
    accept(refusals, packet("b", size=1_700))
    refusals.closed([packet("a", size=900)], code=NOT_AUTHORIZED)
    assert refusals.verdict("a", "{}", 900)
    assert not refusals.verdict("a", "[]", 900)


def test_a_verdict_is_tried_again_and_one_closed_connection_confirms_it(refusals: Refusals, clock: Clock) -> None:
    refusals.closed([packet("a")], code=NOT_AUTHORIZED)
    refusals.closed([packet("b", size=900)], code=PACKET_TOO_LARGE)
    clock.now_s += RETRY_S
    assert not denied(refusals, "a")
    assert not denied(refusals, "b", size=900)
    assert refusals.is_suspect("a")
    refusals.closed([packet("a", sent_s=clock.now_s)], code=0)
    assert denied(refusals, "a")


def test_a_topic_is_tried_once_it_is_answered_or_denied(refusals: Refusals) -> None:
    assert refusals.is_untried("a/turn")
    for _ in range(MAX_STRIKES):
        refusals.closed([packet("c/turn")], code=0)
    refusals.acknowledged(packet("a/turn"))
    refusals.refused(packet("b/turn"), code=NOT_AUTHORIZED)
    assert [refusals.is_untried(f"{source}/turn") for source in "abcd"] == [False, False, False, True]


def test_sources_that_come_and_go_do_not_cost_a_connection_each(refusals: Refusals) -> None:
    for number in range(DENIED_SOURCES):
        assert not denied(refusals, f"home/call{number}/alert")
        refusals.closed([packet(f"home/call{number}/alert")], code=NOT_AUTHORIZED)
    assert denied(refusals, "home/another/alert")
    assert not denied(refusals, "home/another/turn")


def test_a_kind_that_was_accepted_once_is_not_denied_as_a_whole(refusals: Refusals) -> None:
    accept(refusals, packet("home/good/turn"))
    for number in range(DENIED_SOURCES):
        refusals.closed([packet(f"home/bad{number}/turn")], code=NOT_AUTHORIZED)
    assert not denied(refusals, "home/another/turn")


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"@\x02\x00\x01@\x03\x00\x02\x87", [(1, 0), (2, 0x87)]),
        (b"@\x04\x00\x03\x10\x00p\x02\x01\x00", [(3, 0x10), (256, 0)]),
        (b"\xd0\x00@\x02\x00\x05@", [(5, 0)]),
        (b"0\x80\x01@\x02\x00\x05", []),
        (b"", []),
    ],
)
def test_acknowledgements_left_in_a_socket(data: bytes, expected: list[tuple[int, int]]) -> None:
    assert list(acknowledgements(data)) == expected


async def _turns(sink: MqttSink, *, rounds: int = 6) -> None:
    for number in range(rounds):
        for room in ROOMS:
            await sink.send(examples.event(examples.turn(number), seq=number, source=room))
    await wait_until(lambda: sink.statistics().waiting == 0)


@pytest.mark.slow
@pytest.mark.parametrize("qos", [1, 0])
@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
@pytest.mark.parametrize("code", [NOT_AUTHORIZED, None])
def test_a_denied_topic_among_ten_costs_three_connections_at_most(
    caplog: pytest.LogCaptureFixture, protocol: str, code: int | None, qos: int
) -> None:
    async def check() -> None:
        refuses = lambda topic, size: topic == DENIED  # noqa: E731, ARG005
        async with StrictBroker(refuses=refuses, code=code) as broker:
            limits = replace(LIMITS, trial_s=10.0)  # the broker is quick, however busy the machine is
            async with mqtt_sink(broker.port, limits=limits, protocol=protocol, qos=qos) as sink:
                await _turns(sink)
                await _turns(sink)
                health = sink.counters().broker
            assert broker.connections - 1 <= 3, "reconnects"
            assert health is not None
            assert [(one.topic, one.count) for one in health.set_aside] == [(DENIED, 12)] or not qos
            for room in set(ROOMS) - {"room3"}:
                ids = [json.loads(payload)["id"] for payload in broker.payloads(f"home/kitchen/{room}/turn")]
                expected = [f"s/{room}/{number}" for number in [*range(6), *range(6)]]
                if qos:
                    assert ids == expected, "none lost, none twice, in order"
        assert caplog.text.count("set aside") == 1

    caplog.set_level(logging.WARNING)
    asyncio.run(check())


def test_announced_limits_are_honoured(caplog: pytest.LogCaptureFixture) -> None:
    async def check() -> None:
        properties = b"\x27" + (600).to_bytes(4, "big") + b"\x21\x00\x02" + b"\x24\x00" + b"\x25\x00"
        async with StrictBroker(refuses=lambda topic, size: size > 600, connack_properties=properties) as broker:  # noqa: ARG005
            async with mqtt_sink(broker.port, limits=LIMITS) as sink:
                for number, name in enumerate(("Alice", "A" * 400, "Bob")):
                    await sink.send(examples.event(examples.turn(number, name=name), seq=number))
                await wait_until(lambda: sink.statistics().waiting == 0)
                assert sink.counters().refused == 1
            assert broker.connections == 1
            names = [json.loads(payload)["speaker"] for payload in broker.payloads("home/kitchen/room/turn")]
            assert names == ["Alice", "Bob"]
            assert Counter((one.qos, one.retain) for one in broker.publications).keys() == {(0, False)}
        assert "the broker takes packets of 600 bytes at most" in caplog.text

    caplog.set_level(logging.WARNING)
    asyncio.run(check())


def test_a_packet_too_large_for_a_silent_broker_is_found(caplog: pytest.LogCaptureFixture) -> None:
    async def check() -> None:
        async with StrictBroker(refuses=lambda topic, size: size > 600) as broker:  # noqa: ARG005
            async with mqtt_sink(broker.port, limits=LIMITS, protocol="3.1.1") as sink:
                for number, name in enumerate(("Alice", "A" * 400, "Bob", "B" * 400, "C")):
                    await sink.send(examples.event(examples.turn(number, name=name), seq=number))
                    await wait_until(lambda: sink.statistics().waiting == 0)
                assert sink.counters().refused == 2
            assert broker.connections - 1 <= 3
            names = [json.loads(payload)["speaker"] for payload in broker.payloads("home/kitchen/room/turn")]
            assert names == ["Alice", "Bob", "C"]

    caplog.set_level(logging.WARNING)
    asyncio.run(check())


def test_a_quota_holds_back_its_own_message_only(caplog: pytest.LogCaptureFixture) -> None:
    async def check() -> None:
        answers = lambda topic: QUOTA_EXCEEDED if topic == DENIED else 0  # noqa: E731
        async with StrictBroker(answers=answers) as broker:
            async with mqtt_sink(broker.port, limits=LIMITS) as sink:
                await _turns(sink, rounds=2)
                assert sink.counters().refused == 2
            assert broker.connections == 1
            assert len(broker.payloads("home/kitchen/room4/turn")) == 2
        assert caplog.text.count("Quota exceeded") == 1

    caplog.set_level(logging.WARNING)
    asyncio.run(check())


def test_a_quota_that_is_over_soon_loses_nothing() -> None:
    async def check() -> None:
        answers = iter([QUOTA_EXCEEDED, QUOTA_EXCEEDED])
        async with StrictBroker(answers=lambda topic: next(answers, 0) if topic == DENIED else 0) as broker:
            async with mqtt_sink(broker.port, limits=LIMITS) as sink:
                await _turns(sink, rounds=1)
                assert sink.counters().refused == 0
            assert len(broker.payloads(DENIED)) == 1

    asyncio.run(check())


def test_a_denied_subscription_that_closes_the_connection_is_done_without(caplog: pytest.LogCaptureFixture) -> None:
    async def check() -> None:
        async with StrictBroker(refuses_subscription=lambda topic: topic.endswith("command")) as broker:
            async with mqtt_sink(broker.port, limits=LIMITS, commands=["status"]) as sink:
                await _turns(sink, rounds=1)
            assert broker.connections - 1 <= 3
            assert broker.payloads("home/kitchen/availability") == [b"online", b"offline"]

    caplog.set_level(logging.WARNING)
    asyncio.run(check())
    assert caplog.text.count("refuses the subscription to home/kitchen/command") == 1


def test_a_denied_birth_does_not_stop_the_rest() -> None:
    async def check() -> None:
        refuses = lambda topic, size: topic.endswith("/info")  # noqa: E731, ARG005
        async with StrictBroker(refuses=refuses, code=NOT_AUTHORIZED) as broker:
            async with mqtt_sink(broker.port, limits=LIMITS) as sink:
                await _turns(sink, rounds=2)
            assert broker.connections - 1 <= 3
            assert len(broker.payloads("home/kitchen/room4/turn")) == 2

    asyncio.run(check())
