"""Calls of a stand-in for Asterisk: whatever this node does, the caller is not hung up."""

from __future__ import annotations

import asyncio
import uuid

import pytest

from stream.events import CallEvent, StreamEvent
from tests.server.asterisk import AsteriskCall, Result
from tests.support.node import network_node
from tests.support.waiting import wait_until


def test_two_legs_go_on_when_the_node_stops() -> None:
    async def check() -> tuple[list[Result], list[StreamEvent]]:
        async with network_node() as tested:
            call = uuid.uuid4()
            legs = [asyncio.create_task(AsteriskCall(call).run(tested.listener.audiosocket_port)) for _ in range(2)]
            await wait_until(lambda: any(len(one.tracks) == 2 for one in tested.gateway.calls.values()))
            await tested.first_event()
            tested.pipeline.stop()
            return await asyncio.gather(*legs), [event for event in tested.events if isinstance(event, StreamEvent)]

    results, _ = asyncio.run(asyncio.wait_for(check(), 30))
    assert results == ["dialplan goes on"] * 2


@pytest.mark.slow
def test_a_refused_caller_goes_on() -> None:
    async def check(**serve: object) -> Result:
        async with network_node(serve=serve) as tested:
            return await AsteriskCall().run(tested.listener.audiosocket_port)

    for limits in ({"audiosocket_peers": ["10.0.0.0/8"]}, {"max_ahead_s": 0.05, "messages_per_s": 1}):
        assert asyncio.run(asyncio.wait_for(check(**limits), 30)) == "dialplan goes on"


def test_a_third_leg_is_refused_and_goes_on() -> None:
    async def check() -> Result:
        async with network_node() as tested:
            call, port = uuid.uuid4(), tested.listener.audiosocket_port
            legs = [asyncio.create_task(AsteriskCall(call).run(port)) for _ in range(2)]
            await wait_until(lambda: any(len(one.tracks) == 2 for one in tested.gateway.calls.values()))
            third = await AsteriskCall(call).run(port)
            assert not any(leg.done() for leg in legs), "the others are not affected"
            for leg in legs:
                leg.cancel()
            await asyncio.gather(*legs, return_exceptions=True)
            return third

    assert asyncio.run(asyncio.wait_for(check(), 30)) == "dialplan goes on"


def test_a_channel_that_hangs_up_ends_its_call() -> None:
    async def check() -> tuple[Result, str | None, int]:
        async with network_node() as tested:
            result = await AsteriskCall(hang_up_after=30, frame_s=0.001).run(tested.listener.audiosocket_port)
            await wait_until(lambda: any(isinstance(one, CallEvent) and one.phase == "final" for one in tested.events))
            ended = [one for one in tested.events if isinstance(one, StreamEvent) and one.state == "ended"]
            return result, ended[0].outcome, len(ended)

    assert asyncio.run(asyncio.wait_for(check(), 30)) == ("dialplan goes on", "hung_up", 1)
