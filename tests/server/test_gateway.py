"""Sessions and their limits, over links that a test holds in its hand."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from stream.events import CallEvent, StreamEvent, TurnEvent
from stream.server.protocols.audiosocket import AudioSocketProtocol
from stream.server.protocols.base import ConnectionProtocol
from stream.server.protocols.generic import GenericProtocol
from stream.server.protocols.twilio import TwilioProtocol
from tests.server.node import Node, node
from tests.server.protocols.test_audiosocket import BYE, HELLO
from tests.server.telephone import StereoCall, twilio_messages

RATE_HZ = 16_000
LOUD = (np.random.default_rng(3).uniform(-0.4, 0.4, RATE_HZ * 4) * 32_767).astype("<i2")
PATIENCE_S = 20


class HandLink:
    """What a test puts in is received; what is sent is kept, unless nobody reads."""

    def __init__(self, *messages: Any, reads: bool = True) -> None:
        self.inbox: asyncio.Queue[str | bytes | None] = asyncio.Queue()
        for message in messages:
            self.put(message)
        self.sent: list[Any] = []
        self.closed: tuple[int, str] | None = None
        self.aborted = False
        self._reads = reads

    def put(self, message: Any) -> None:
        self.inbox.put_nowait(json.dumps(message) if isinstance(message, dict) else message)

    async def receive(self) -> str | bytes | None:
        return await self.inbox.get()

    async def send(self, data: str | bytes) -> None:
        if not self._reads:
            await asyncio.Event().wait()
        self.sent.append(json.loads(data) if isinstance(data, str) else data)

    async def close(self, code: int, reason: str) -> None:
        if not self._reads:
            await asyncio.Event().wait()
        self.closed = (code, reason)
        self.put(None)

    def abort(self) -> None:
        self.aborted = True
        self.put(None)


def start(**changed: Any) -> dict[str, Any]:
    return {"type": "start", "rate_hz": RATE_HZ, "source": "desk", **changed}


def pieces(sound: np.ndarray = LOUD, size: int = 1_600) -> list[bytes]:
    return [sound[place : place + size].tobytes() for place in range(0, len(sound), size)]


async def session(
    tested: Node, link: HandLink, *, protocol: ConnectionProtocol | None = None, peer: str = "peer"
) -> None:
    await asyncio.wait_for(tested.gateway.serve(link, protocol or GenericProtocol(), peer=peer), PATIENCE_S)


def run(link: HandLink, **changed: Any) -> list[Any]:
    async def check() -> list[Any]:
        async with node(**changed) as tested:
            await session(tested, link)
        return tested.sink.events

    return asyncio.run(check())


async def until(done: Callable[[], bool]) -> None:
    """Let the others go on until something has come about."""
    while not done():  # noqa: ASYNC110 - nobody tells
        await asyncio.sleep(0.001)


def is_behind(tested: Node) -> list[bool]:
    return [track.is_behind for call in tested.gateway.calls.values() for track in call.tracks.values()]


def states(events: Sequence[Any], source: str) -> list[str]:
    return [event.state for event in events if isinstance(event, StreamEvent) and event.source == source]


def test_a_stop_flushes_and_tells_everything_before_the_close() -> None:
    link = HandLink(start(), *pieces(), {"type": "stop"})
    events = run(link)
    assert states(events, "desk") == ["started", "ended"]
    assert link.sent[0] == {"type": "started", "source": "desk", "schema": 1}
    assert link.sent[-1] == {"type": "stopped"}
    assert [event["seq"] for event in link.sent[1:-1]] == list(range(len(link.sent) - 2))
    assert (link.sent[-2]["type"], link.sent[-2]["state"], link.sent[-2]["end_s"]) == ("stream", "ended", 4.0)
    assert link.closed == (1000, "")


def test_a_line_that_goes_dead_ends_turns_all_the_same() -> None:
    events = run(HandLink(start(), *pieces(), None))
    assert states(events, "desk") == ["started", "ended"]
    phases = [event.phase for event in events if isinstance(event, TurnEvent)]
    assert phases == ["start", "end"]


def test_two_streams_of_one_name_are_told_apart() -> None:
    async def check() -> list[Any]:
        async with node() as tested:
            links = [HandLink(start(), *pieces()) for _ in range(2)]
            for link in links:
                link.put({"type": "stop"})
            await asyncio.gather(*(session(tested, link) for link in links))
        return [link.sent[0]["source"] for link in links]

    assert asyncio.run(check()) == ["desk", "desk-2"]


def test_a_name_that_comes_back_goes_on_counting() -> None:
    async def check() -> list[str]:
        async with node() as tested:
            for _ in range(2):
                await session(tested, HandLink(start(), *pieces(), {"type": "stop"}))
                await tested.ended("desk")
                await until(lambda: not tested.pipeline.knows("desk"))
        return [event.id for event in tested.own]

    ids = asyncio.run(check())
    assert len(set(ids)) == len(ids)
    assert {name.split("/")[1] for name in ids} == {"desk"}


@pytest.mark.parametrize(
    ("limits", "messages", "code", "words"),
    [
        ({"idle_timeout_s": 0.1}, [start()], 1008, "nothing came for 0.1 s"),
        ({"max_message_bytes": 1_024}, [start(), bytes(1_026)], 1009, "1024 bytes"),
        ({"max_ahead_s": 1.0}, [start(), *pieces()], 1008, "ahead of the clock"),
        ({"max_streams": 1}, [start(call="x", parties=["customer", "agent"])], 1013, "1 streams are heard"),
        ({"streams_per_peer": 1}, [start(call="x", parties=["customer", "agent"])], 1008, "of this peer"),
        ({"idle_timeout_s": 0.1}, [], 1008, "nothing came for 0.1 s"),
        ({"messages_per_s": 1, "max_ahead_s": 3.0}, [start(), *pieces()], 1008, "more than 1 messages a second"),
        ({}, ["nonsense"], 1003, "not JSON"),
    ],
)
def test_who_breaks_a_limit_is_told_so(limits: dict[str, Any], messages: list[Any], code: int, words: str) -> None:
    if messages and "call" in str(messages[0]):
        del messages[0]["source"]
    link = HandLink(*messages)
    run(link, serve=limits)
    assert link.closed is not None
    assert link.closed[0] == code
    assert words in link.closed[1]
    assert link.sent[-1]["type"] == "error"
    assert words in link.sent[-1]["message"]


def test_who_is_idle_and_does_not_even_read_the_good_bye_is_cut_off() -> None:
    link = HandLink(reads=False)
    run(link, serve={"idle_timeout_s": 0.1, "write_timeout_s": 0.1})
    assert link.aborted


def test_who_talks_but_announces_no_sound_is_idle_too() -> None:
    async def check() -> HandLink:
        async with node(serve={"idle_timeout_s": 0.3}) as tested:
            link = HandLink()
            serving = asyncio.create_task(session(tested, link, protocol=TwilioProtocol()))
            while not serving.done():
                link.put({"event": "connected"})
                await asyncio.sleep(0.02)
            await serving
        return link

    assert asyncio.run(check()).closed == (1008, "no sound was announced for 0.3 s")


def test_a_peer_may_have_as_many_connections_as_streams() -> None:
    async def check() -> tuple[HandLink, dict[str, int]]:
        async with node(serve={"streams_per_peer": 2}) as tested:
            links = [HandLink() for _ in range(2)]
            serving = [asyncio.create_task(session(tested, link)) for link in links]
            await until(lambda: sum(row.open for row in tested.gateway.statistics().protocols) == 2)
            late = HandLink()
            await session(tested, late)
            stranger = HandLink(start(), *pieces(), {"type": "stop"})
            await session(tested, stranger, peer="another")
            assert stranger.closed == (1000, "")
            for link in links:
                link.put(None)
            await asyncio.gather(*serving)
            return late, dict(tested.refused)

    late, refused = asyncio.run(check())
    assert late.closed == (1008, "2 connections of this peer are open already")
    assert refused == {"too_many": 1}


def test_what_came_is_counted_by_protocol() -> None:
    async def check() -> list[Any]:
        async with node() as tested:
            await session(tested, HandLink(start(), *pieces(), {"type": "stop"}))
            await session(tested, HandLink("nonsense"))
            await session(tested, HandLink(HELLO, BYE), protocol=AudioSocketProtocol())
            assert tested.pipeline.health().protocols == tested.gateway.statistics().protocols
            return [row.model_dump() for row in tested.gateway.statistics().protocols]

    audiosocket, generic = asyncio.run(check())
    assert (audiosocket["protocol"], audiosocket["accepted"], audiosocket["open"]) == ("audiosocket", 1, 0)
    sent = [json.dumps(start()), *pieces(), json.dumps({"type": "stop"}), "nonsense"]
    assert generic == {
        "protocol": "generic",
        "open": 0,
        "accepted": 2,
        "refused": {"malformed": 1},
        "messages": len(sent),
        "bytes": sum(map(len, sent)),
        "gaps": 0,
        "lost_s": 0.0,
    }


def test_lost_sound_is_counted() -> None:
    async def check() -> tuple[int, float]:
        async with node() as tested:
            quiet = np.full(3 * 8_000, 0xFF, np.uint8)
            messages = twilio_messages(StereoCall(quiet, quiet))
            del messages[10:110]  # a second of each track
            await session(tested, HandLink(*messages), protocol=TwilioProtocol())
            (row,) = tested.gateway.statistics().protocols
            return row.gaps, row.lost_s

    gaps, lost_s = asyncio.run(check())
    assert (gaps, lost_s) == (2, 2.0)


def test_a_refused_stream_gives_its_place_back() -> None:
    async def check() -> int:
        async with node(serve={"max_streams": 1}) as tested:
            await session(tested, HandLink(start(), "nonsense"))
            link = HandLink(start(), *pieces(), {"type": "stop"})
            await session(tested, link)
            assert link.closed == (1000, "")
            return tested.gateway.statistics().streams

    assert asyncio.run(check()) == 0


def test_a_client_that_does_not_read_is_cut_off_and_others_are_not() -> None:
    async def check() -> tuple[HandLink, HandLink]:
        async with node(serve={"write_timeout_s": 0.2}) as tested:
            deaf, good = HandLink(start(source="deaf"), *pieces(), reads=False), HandLink(start(), *pieces())
            good.put({"type": "stop"})
            await asyncio.gather(session(tested, deaf), session(tested, good))
            await tested.ended("deaf")
            assert tested.refused["stalled"] >= 1
        return deaf, good

    deaf, good = asyncio.run(check())
    assert deaf.aborted
    assert good.closed == (1000, "")


def test_the_end_of_the_run_is_told_to_everybody() -> None:
    link = HandLink(start(), *pieces())

    async def check() -> list[Any]:
        async with node() as tested:
            serving = asyncio.create_task(session(tested, link))
            await tested.first()
            await until(link.inbox.empty)
            tested.pipeline.stop()
            await serving
        return tested.sink.events

    events = asyncio.run(check())
    assert link.closed == (1001, "this node is stopping")
    assert states(events, "desk") == ["started", "ended"]


def test_the_second_leg_of_a_call_begins_where_the_first_one_is() -> None:
    """Nobody shares a clock with us: an AudioSocket says nothing of time."""

    def packets(sound: np.ndarray) -> list[bytes]:
        return [b"\x12" + len(piece).to_bytes(2, "big") + piece for piece in pieces(sound)]

    async def check() -> list[Any]:
        async with node() as tested:
            first, second = HandLink(HELLO, *packets(LOUD[: RATE_HZ * 2])), HandLink(HELLO)
            serving = [asyncio.create_task(session(tested, first, protocol=AudioSocketProtocol()))]
            await until(first.inbox.empty)
            serving.append(asyncio.create_task(session(tested, second, protocol=AudioSocketProtocol())))
            await until(second.inbox.empty)
            for link in (first, second):
                for packet in packets(LOUD[: RATE_HZ * 2]):
                    link.put(packet)
                link.put(BYE)
            await asyncio.gather(*serving)
        return tested.sink.events

    events = asyncio.run(check())
    final = next(event for event in events if isinstance(event, CallEvent) and event.phase == "final")
    assert final.end_s == 4.0
    by = {row.party: row.talk_s for row in final.parties}
    assert by["customer"] == pytest.approx(4.0, abs=0.05)
    assert by["agent"] == pytest.approx(2.0, abs=0.05)
    assert not [event for event in events if isinstance(event, StreamEvent) and event.state == "gap"]


def test_a_track_that_falls_silent_does_not_hold_the_call_up() -> None:
    """Switches leave silence out: the other track goes on, and so does the call."""

    async def check() -> list[Any]:
        async with node() as tested:
            agent, customer = HandLink(HELLO), HandLink(HELLO)
            serving = []
            for link in (customer, agent):
                serving.append(asyncio.create_task(session(tested, link, protocol=AudioSocketProtocol())))
                await until(link.inbox.empty)
            for piece in pieces():
                customer.put(b"\x12" + len(piece).to_bytes(2, "big") + piece)
            await until(lambda: customer.inbox.empty() and not any(is_behind(tested)))
            for second in (1e6, 2e6):  # twice, since a loop that stood still has not read its sockets
                tested.gateway.fill(second)
            await until(lambda: any(isinstance(event, CallEvent) and event.end_s >= 2 for event in tested.own))
            assert tested.gateway.statistics().filled_s == 3.0
            for link in (customer, agent):
                link.put(BYE)
            await asyncio.gather(*serving)
        return tested.sink.events

    events = asyncio.run(asyncio.wait_for(check(), PATIENCE_S))
    final = next(event for event in events if isinstance(event, CallEvent) and event.phase == "final")
    assert {row.party for row in final.parties} == {"customer", "agent"}
