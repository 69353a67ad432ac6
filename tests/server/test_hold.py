"""Calls on hold and transfers, from what a telephone system says to events and figures."""

from __future__ import annotations

import asyncio
import json

import numpy as np
import pytest

from stream.events import StreamEvent
from stream.server.call_labels import transfer_text
from stream.server.protocols.base import ChangeCall
from stream.server.protocols.generic import GenericProtocol
from stream.server.protocols.linear import LinearProtocol
from stream.types import Block
from tests.server.protocols.exchanges import feed, violation
from tests.server.telephone import RATE_HZ, connect
from tests.server.test_call_labels import post
from tests.server.test_intake import Line, states
from tests.support.node import NetworkNode, network_node
from tests.support.waiting import wait_until

START = {
    "type": "start",
    "rate_hz": RATE_HZ,
    "call": "c7",
    "parties": ["customer", "agent"],
    "labels": {"agent": "Ada"},
}


def test_audio_of_a_call_on_hold_is_discarded_and_leaves_a_gap() -> None:
    line = Line()
    line.talk(1.0)
    line.track.hold("the call is on hold")
    line.talk(5.0)
    line.track.interrupt("stalled", "nothing else is said of a call on hold")
    line.track.retrieve("retrieved")
    line.talk(1.0)
    items = line.items()
    changes = [(item.state, item.call_change) for item in items if not isinstance(item, Block)]
    assert changes == [("paused", "hold"), ("resumed", "retrieve")]
    blocks = [item for item in items if isinstance(item, Block)]
    assert sum(len(block.samples) for block in blocks) == 2 * RATE_HZ
    assert (blocks[0].start_frame, blocks[-1].end_frame) == (0, 7 * RATE_HZ)


def test_a_peer_that_sends_nothing_on_hold_leaves_the_same_gap() -> None:
    line = Line()
    line.talk(1.0)
    line.track.hold("the call is on hold")
    line.wait(5.0)
    line.track.retrieve("retrieved")
    line.talk(1.0)
    items = line.items()
    assert states(items) == ["paused", "resumed"]
    last = [item for item in items if isinstance(item, Block)][-1]
    assert last.end_frame == pytest.approx(7 * RATE_HZ, abs=RATE_HZ // 10)


def test_a_stalled_call_can_be_put_on_hold() -> None:
    line = Line()
    line.talk(0.5)
    line.wait(3.0)
    line.track.hold("the call is on hold")
    line.track.hold("again")
    assert states(line.items()) == ["stalled", "paused"]


def test_what_a_client_says_of_its_call() -> None:
    tested = GenericProtocol()
    feed(tested, START)
    said = {"type": "call", "change": "transfer", "labels": {"agent": "Grace", "x": "y"}}
    assert feed(tested, said) == [ChangeCall({"agent": "Grace"}, "transfer")]
    assert feed(tested, {"type": "call", "labels": {"queue": "sales"}}) == [ChangeCall({"queue": "sales"}, None)]
    refused: list[dict[str, object]] = [
        {"change": "dance"},
        {},
        {"change": 7},
        {"labels": {}},
        {"labels": {"agent": "A"}, "change": "x"},
    ]
    for wrong in refused:
        assert "change must be" in violation(feed(tested, {"type": "call", **wrong}))
    assert "call before start" in violation(feed(GenericProtocol(), {"type": "call", "change": "hold"}))


def test_notes_of_a_dialplan_change_the_call() -> None:
    class Bare(LinearProtocol):
        name = "bare"

    tested = Bare()
    feed(tested, {"call": "c7"})
    assert feed(tested, {"change": "hold"}) == [ChangeCall({}, "hold")]
    assert feed(tested, {"event": "dtmf", "dtmf": "1"}, "a note") == []


def test_the_text_of_a_transfer() -> None:
    assert transfer_text({"agent": "Ada"}, {"agent": "Grace"}) == "transferred from Ada to Grace"
    assert transfer_text({}, {"queue": "sales"}) == "transferred to sales"
    assert transfer_text({"agent": "Ada"}, {"agent": "Ada"}) == "transferred"


def _stream_events(tested: NetworkNode) -> list[StreamEvent]:
    return [event for event in tested.events if isinstance(event, StreamEvent) and event.call_change is not None]


@pytest.mark.slow
def test_a_call_is_held_retrieved_and_transferred_over_http() -> None:
    async def check() -> list[StreamEvent]:
        async with network_node() as tested, connect(tested.listener, "/v1/stream") as link:
            await link.send(json.dumps(START))
            tone = np.zeros((RATE_HZ // 2, 2), "<i2").tobytes()
            await link.send(tone)
            await tested.first_event()
            assert await post(tested, "c7", b'{"change": "hold"}') == 204
            assert await post(tested, "nothing", b'{"change": "hold"}') == 404
            assert await post(tested, "c7", b'{"change": "dance"}') == 400
            await wait_until(lambda: len(_stream_events(tested)) == 2)
            await link.send(tone)
            assert await post(tested, "c7", b'{"change": "transfer", "agent": "Grace"}') == 204
            await link.send(tone)
            await wait_until(lambda: len(_stream_events(tested)) == 6)
            await link.send('{"type": "stop"}')
            await tested.wait_ended("c7-customer", "c7-agent")
            return [event for event in _stream_events(tested) if event.party == "customer"]

    held, transferred, resumed = asyncio.run(asyncio.wait_for(check(), 30))
    assert (held.state, held.call_change, held.detail) == ("paused", "hold", "the call is on hold")
    assert (transferred.state, transferred.detail) == ("described", "transferred from Ada to Grace")
    assert transferred.labels == {"agent": "Grace"}
    assert (resumed.state, resumed.call_change, resumed.detail) == ("resumed", "retrieve", "transferred")
