"""How a call over a WebSocket ended: a close frame is a hang-up, a connection without one was cut."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable

import pytest
import websockets

from stream.events import Outcome, StreamEvent
from tests.server.telephone import connect
from tests.support.node import network_node

START = {"type": "start", "rate_hz": 8_000, "source": "desk", "events": False}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("ends", "outcome"),
    [
        (lambda link: link.transport.close(), "cut"),
        (lambda link: link.transport.abort(), "cut"),
        (lambda link: link.protocol.send_close(), "hung_up"),
    ],
)
def test_a_connection_without_a_close_frame_was_cut(
    ends: Callable[[websockets.ClientConnection], None], outcome: Outcome
) -> None:
    async def check() -> Outcome | None:
        async with network_node() as tested, connect(tested.listener, "/v1/stream") as link:
            await link.send(json.dumps(START))
            await link.recv()
            await link.send(bytes(3_200))
            ends(link)
            link.transport.writelines(link.protocol.data_to_send())
            await tested.wait_ended("desk")
            ended = [event for event in tested.events if isinstance(event, StreamEvent) and event.state == "ended"]
            return ended[0].outcome

    assert asyncio.run(asyncio.wait_for(check(), 30)) == outcome
