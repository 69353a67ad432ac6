"""Connections and their limits, over a fake transport."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from stream.events import CallEvent, StreamEvent, TurnEvent
from stream.server.protocols.audiosocket import AudioSocketProtocol
from stream.server.protocols.base import MAX_MALFORMED, ConnectionProtocol
from stream.server.protocols.generic import GenericProtocol
from stream.server.protocols.twilio import TwilioProtocol
from tests.server.protocols.messages import HANG_UP_PACKET, UUID_PACKET
from tests.server.telephone import StereoCall, twilio_messages
from tests.server.transport import FakeTransport
from tests.support.node import NetworkNode, network_node
from tests.support.waiting import wait_until

RATE_HZ = 16_000
LOUD = (np.random.default_rng(3).uniform(-0.4, 0.4, RATE_HZ * 4) * 32_767).astype("<i2")
TIMEOUT_S = 20


def start(**changed: Any) -> dict[str, Any]:
    return {"type": "start", "rate_hz": RATE_HZ, "source": "desk", **changed}


def chunks(samples: np.ndarray = LOUD, size: int = 1_600) -> list[bytes]:
    return [samples[start : start + size].tobytes() for start in range(0, len(samples), size)]


async def serve(
    tested: NetworkNode, transport: FakeTransport, *, protocol: ConnectionProtocol | None = None, peer: str = "peer"
) -> None:
    await asyncio.wait_for(tested.gateway.serve(transport, protocol or GenericProtocol(), peer=peer), TIMEOUT_S)


def run(transport: FakeTransport, **changed: Any) -> list[Any]:
    async def check() -> list[Any]:
        async with network_node(**changed) as tested:
            await serve(tested, transport)
        return tested.sink.events

    return asyncio.run(check())


def is_behind(tested: NetworkNode) -> list[bool]:
    return [track.is_behind for call in tested.gateway.calls.values() for track in call.tracks.values()]


def states(events: Sequence[Any], source: str) -> list[str]:
    return [event.state for event in events if isinstance(event, StreamEvent) and event.source == source]


def test_a_stop_flushes_audio_and_events_before_the_close() -> None:
    transport = FakeTransport(start(), *chunks(), {"type": "stop"})
    events = run(transport)
    assert states(events, "desk") == ["started", "ended"]
    assert transport.sent[0] == {"type": "started", "source": "desk", "schema": 2}
    assert transport.sent[-1] == {"type": "stopped"}
    assert [event["seq"] for event in transport.sent[1:-1]] == list(range(len(transport.sent) - 2))
    assert (transport.sent[-2]["type"], transport.sent[-2]["state"], transport.sent[-2]["end_s"]) == (
        "stream",
        "ended",
        4.0,
    )
    assert transport.closed == (1000, "")


def test_a_lost_connection_ends_its_turns() -> None:
    events = run(FakeTransport(start(), *chunks(), None))
    assert states(events, "desk") == ["started", "ended"]
    phases = [event.phase for event in events if isinstance(event, TurnEvent)]
    assert phases == ["start", "end"]


def test_two_streams_of_one_name_get_different_names() -> None:
    async def check() -> list[Any]:
        async with network_node() as tested:
            transports = [FakeTransport(start(), *chunks()) for _ in range(2)]
            for transport in transports:
                transport.put({"type": "stop"})
            await asyncio.gather(*(serve(tested, transport) for transport in transports))
        return [transport.sent[0]["source"] for transport in transports]

    assert asyncio.run(check()) == ["desk", "desk-2"]


def test_a_reused_name_continues_its_sequence_numbers() -> None:
    async def check() -> list[str]:
        async with network_node() as tested:
            for _ in range(2):
                await serve(tested, FakeTransport(start(), *chunks(), {"type": "stop"}))
                await tested.wait_ended("desk")
                await wait_until(lambda: not tested.pipeline.is_name_taken("desk"))
        return [event.id for event in tested.events]

    ids = asyncio.run(check())
    assert len(set(ids)) == len(ids)
    assert {name.split("/")[1] for name in ids} == {"desk"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("limits", "messages", "code", "fragment"),
    [
        ({"idle_timeout_s": 0.1}, [start()], 1008, "no data for 0.1 s"),
        ({"max_message_bytes": 1_024}, [start(), bytes(1_026)], 1009, "at most 1024"),
        ({"max_ahead_s": 1.0}, [start(), *chunks()], 1008, "ahead of real time"),
        ({"max_streams": 1}, [start(call="x", parties=["customer", "agent"])], 1013, "serve.max_streams = 1"),
        ({"streams_per_peer": 1}, [start(call="x", parties=["customer", "agent"])], 1008, "serve.streams_per_peer = 1"),
        ({"idle_timeout_s": 0.1}, [], 1008, "no data for 0.1 s"),
        ({"messages_per_s": 1, "max_ahead_s": 3.0}, [start(), *chunks()], 1008, "more than 1 messages per second"),
        ({}, ["nonsense"], 1003, "not JSON"),
    ],
)
def test_exceeding_a_limit_is_answered_with_the_reason(
    limits: dict[str, Any], messages: list[Any], code: int, fragment: str
) -> None:
    if messages and "call" in str(messages[0]):
        del messages[0]["source"]
    transport = FakeTransport(*messages)
    run(transport, serve=limits)
    assert transport.closed is not None
    assert transport.closed[0] == code
    assert fragment in transport.closed[1]
    assert transport.sent[-1]["type"] == "error"
    assert fragment in transport.sent[-1]["message"]


def test_packets_of_three_bytes_are_messages_too() -> None:
    """A read holds thousands of them: counted as one, their processing kept everybody else waiting."""
    empty_audio = b"\x10\x00\x00"
    transport = FakeTransport(UUID_PACKET + 1_000 * empty_audio, 1_000 * empty_audio)

    async def check() -> dict[str, int]:
        async with network_node(serve={"messages_per_s": 10, "max_ahead_s": 30.0}) as tested:
            await serve(tested, transport, protocol=AudioSocketProtocol())
            (row,) = tested.gateway.statistics().protocols
            return row.refused

    assert asyncio.run(check()) == {"too_fast": 1}
    assert transport.sent == [HANG_UP_PACKET]


@pytest.mark.slow
def test_an_idle_client_that_does_not_read_is_aborted() -> None:
    transport = FakeTransport(reads=False)
    run(transport, serve={"idle_timeout_s": 0.1, "write_timeout_s": 0.1})
    assert transport.aborted


@pytest.mark.slow
def test_a_client_that_opens_no_stream_is_idle() -> None:
    async def check() -> FakeTransport:
        async with network_node(serve={"idle_timeout_s": 0.3}) as tested:
            transport = FakeTransport()
            serving = asyncio.create_task(serve(tested, transport, protocol=TwilioProtocol()))
            while not serving.done():
                transport.put({"event": "connected"})
                await asyncio.sleep(0.02)
            await serving
        return transport

    assert asyncio.run(check()).closed == (1008, "idle timeout: no stream opened for 0.3 s (serve.idle_timeout_s)")


def test_connections_per_address_are_limited() -> None:
    async def check() -> tuple[FakeTransport, dict[str, int]]:
        async with network_node(serve={"streams_per_peer": 2}) as tested:
            transports = [FakeTransport() for _ in range(2)]
            serving = [asyncio.create_task(serve(tested, transport)) for transport in transports]
            await wait_until(lambda: sum(row.open for row in tested.gateway.statistics().protocols) == 2)
            late = FakeTransport()
            await serve(tested, late)
            stranger = FakeTransport(start(), *chunks(), {"type": "stop"})
            await serve(tested, stranger, peer="another")
            assert stranger.closed == (1000, "")
            for transport in transports:
                transport.put(None)
            await asyncio.gather(*serving)
            return late, dict(tested.rejected)

    late, refused = asyncio.run(check())
    assert late.closed == (1008, "connection limit per address reached (serve.streams_per_peer = 2)")
    assert refused == {"too_many": 1}


def test_traffic_is_counted_by_protocol() -> None:
    async def check() -> list[Any]:
        async with network_node() as tested:
            await serve(tested, FakeTransport(start(), *chunks(), {"type": "stop"}))
            await serve(tested, FakeTransport("nonsense"))
            await serve(tested, FakeTransport(UUID_PACKET, HANG_UP_PACKET), protocol=AudioSocketProtocol())
            assert tested.pipeline.health().protocols == tested.gateway.statistics().protocols
            return [row.model_dump() for row in tested.gateway.statistics().protocols]

    audiosocket, generic = asyncio.run(check())
    assert (audiosocket["protocol"], audiosocket["accepted"], audiosocket["open"]) == ("audiosocket", 1, 0)
    sent = [json.dumps(start()), *chunks(), json.dumps({"type": "stop"}), "nonsense"]
    (refusal,) = generic.pop("refusals")
    assert (refusal["reason"], refusal["message"], refusal["count"]) == ("malformed", "the message is not JSON", 1)
    assert generic == {
        "protocol": "generic",
        "open": 0,
        "accepted": 2,
        "refused": {"malformed": 1},
        "messages": len(sent),
        "bytes": sum(map(len, sent)),
        "gaps": 0,
        "lost_s": 0.0,
        "malformed": 0,
    }


def test_lost_audio_is_counted() -> None:
    async def check() -> tuple[int, float]:
        async with network_node() as tested:
            quiet = np.full(3 * 8_000, 0xFF, np.uint8)
            messages = twilio_messages(StereoCall(quiet, quiet))
            del messages[10:110]  # a second of each track
            await serve(tested, FakeTransport(*messages), protocol=TwilioProtocol())
            (row,) = tested.gateway.statistics().protocols
            return row.gaps, row.lost_s

    gaps, lost_s = asyncio.run(check())
    assert (gaps, lost_s) == (2, 2.0)


def test_a_rejected_stream_frees_its_slot() -> None:
    async def check() -> int:
        async with network_node(serve={"max_streams": 1}) as tested:
            await serve(tested, FakeTransport(start(), *["nonsense"] * (MAX_MALFORMED + 1)))
            transport = FakeTransport(start(), *chunks(), {"type": "stop"})
            await serve(tested, transport)
            assert transport.closed == (1000, "")
            return tested.gateway.statistics().streams

    assert asyncio.run(check()) == 0


@pytest.mark.slow
def test_a_client_that_does_not_read_is_aborted_without_effect_on_others() -> None:
    async def check() -> tuple[FakeTransport, FakeTransport]:
        async with network_node(serve={"write_timeout_s": 0.2}) as tested:
            stalled, healthy = (
                FakeTransport(start(source="stalled"), *chunks(), reads=False),
                FakeTransport(start(), *chunks()),
            )
            healthy.put({"type": "stop"})
            await asyncio.gather(serve(tested, stalled), serve(tested, healthy))
            await tested.wait_ended("stalled")
            assert tested.rejected["stalled"] >= 1
        return stalled, healthy

    stalled, healthy = asyncio.run(check())
    assert stalled.aborted
    assert healthy.closed == (1000, "")


def test_the_end_of_the_run_closes_connections() -> None:
    transport = FakeTransport(start(), *chunks())

    async def check() -> list[Any]:
        async with network_node() as tested:
            serving = asyncio.create_task(serve(tested, transport))
            await tested.first_event()
            await wait_until(transport.inbox.empty)
            tested.pipeline.stop()
            await serving
        return tested.sink.events

    events = asyncio.run(check())
    assert transport.closed == (1001, "node is shutting down; reconnect later")
    assert states(events, "desk") == ["started", "ended"]


def test_the_second_leg_of_a_call_starts_at_the_end_of_the_first() -> None:
    """AudioSocket packets have no timestamps."""

    def packets(samples: np.ndarray) -> list[bytes]:
        return [b"\x12" + len(chunk).to_bytes(2, "big") + chunk for chunk in chunks(samples)]

    async def check() -> list[Any]:
        async with network_node() as tested:
            first, second = FakeTransport(UUID_PACKET, *packets(LOUD[: RATE_HZ * 2])), FakeTransport(UUID_PACKET)
            serving = [asyncio.create_task(serve(tested, first, protocol=AudioSocketProtocol()))]
            await wait_until(first.inbox.empty)
            serving.append(asyncio.create_task(serve(tested, second, protocol=AudioSocketProtocol())))
            await wait_until(second.inbox.empty)
            for transport in (first, second):
                for packet in packets(LOUD[: RATE_HZ * 2]):
                    transport.put(packet)
                transport.put(HANG_UP_PACKET)
            await asyncio.gather(*serving)
        return tested.sink.events

    events = asyncio.run(check())
    final = next(event for event in events if isinstance(event, CallEvent) and event.phase == "final")
    assert final.end_s == 4.0
    talk_s = {row.party: row.talk_s for row in final.parties}
    assert talk_s["customer"] == pytest.approx(4.0, abs=0.05)
    assert talk_s["agent"] == pytest.approx(2.0, abs=0.05)
    assert not [event for event in events if isinstance(event, StreamEvent) and event.state == "gap"]


def test_a_silent_track_does_not_stall_the_call() -> None:
    """Switches omit silence: the call continues with the other track."""

    async def check() -> list[Any]:
        async with network_node() as tested:
            agent, customer = FakeTransport(UUID_PACKET), FakeTransport(UUID_PACKET)
            serving = []
            for transport in (customer, agent):
                serving.append(asyncio.create_task(serve(tested, transport, protocol=AudioSocketProtocol())))
                await wait_until(transport.inbox.empty)
            for chunk in chunks():
                customer.put(b"\x12" + len(chunk).to_bytes(2, "big") + chunk)
            await wait_until(lambda: customer.inbox.empty() and not any(is_behind(tested)))
            for now_s in (1e6, 2e6):  # a track is filled at the second check
                tested.gateway.fill_silence(now_s)
            await wait_until(lambda: any(isinstance(event, CallEvent) and event.end_s >= 2 for event in tested.events))
            assert tested.gateway.statistics().filled_s == 3.0
            for transport in (customer, agent):
                transport.put(HANG_UP_PACKET)
            await asyncio.gather(*serving)
        return tested.sink.events

    events = asyncio.run(asyncio.wait_for(check(), TIMEOUT_S))
    final = next(event for event in events if isinstance(event, CallEvent) and event.phase == "final")
    assert {row.party for row in final.parties} == {"customer", "agent"}
