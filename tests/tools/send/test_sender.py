"""Sending to a node: its events come back, a lost connection is found again, refusals are one sentence."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import Any

import numpy as np
import pytest
from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, serve

from stream.errors import SettingsError, TonewatchError
from stream.events import StreamEvent, TurnEvent, from_json
from stream.pipeline.failures import root_error
from stream.server.protocols import generic
from stream.tools.send.sender import CATCH_UP_PACE, MAX_AGE_S, MAX_BURST_S, Sender, node_url
from stream.tools.send.unsent import MAX_UNSENT_S, UnsentAudio
from stream.types import Block
from tests.support.fakes import FakeSource
from tests.support.node import network_node
from tests.support.waiting import wait_until

LOUD = np.random.default_rng(5).uniform(-0.4, 0.4, (16_000 * 4, 1)).astype(np.float32)
TOKEN = "correct-horse-battery"


BLOCKS = [Block("desk", start, LOUD[start : start + 4_000]) for start in range(0, len(LOUD), 4_000)]


def source() -> FakeSource:
    return FakeSource(BLOCKS, source_id="desk")


class HandedOver(FakeSource):
    """Yields a block when the one before has arrived, or is lost."""

    def __init__(self, received: list[bytes]) -> None:
        super().__init__(BLOCKS, source_id="desk")
        self._received = received

    async def _generate_blocks(self) -> AsyncIterator[Any]:
        for block in self._blocks:
            before = len(self._received)
            yield block
            with suppress(TimeoutError):
                await wait_until(partial(lambda count: len(self._received) > count, before), timeout_s=0.1)


async def no_pause(_: float) -> None:
    await asyncio.sleep(0)


async def run(sender: Sender) -> None:
    try:
        await sender.run()
    except BaseExceptionGroup as group:
        raise root_error(group) from None


def test_a_node_gets_the_audio_and_its_events_come_back(capsys: pytest.CaptureFixture[str]) -> None:
    lines: list[str] = []

    async def check() -> None:
        async with network_node() as node:
            url = node_url(f"127.0.0.1:{node.listener.port}")
            await run(Sender(source=source(), url=url, name="desk", on_event=lines.append))
            await node.wait_ended("desk")
            (end,) = (event for event in node.events if isinstance(event, StreamEvent) and event.state == "ended")
            assert (end.end_s, end.outcome) == (4.0, "hung_up")

    asyncio.run(check())
    events = [from_json(line) for line in lines]
    assert any(isinstance(event, TurnEvent) and event.phase == "end" for event in events)
    assert events[-1].type == "stream"
    assert "sending to ws://127.0.0.1" in capsys.readouterr().err


def scripted(handle: Callable[[ServerConnection, int], Awaitable[None]], port: int = 0) -> Any:
    """Serve connections that a test answers; the handler gets the number of the connection."""
    count = 0

    async def accept(connection: ServerConnection) -> None:
        nonlocal count
        number, count = count, count + 1
        await handle(connection, number)

    return serve(accept, "127.0.0.1" if port else "localhost", port)


def test_a_lost_node_is_found_again_and_gets_the_rest() -> None:
    received: list[bytes] = []

    async def handle(connection: ServerConnection, number: int) -> None:
        assert json.loads(await connection.recv())["type"] == "start"
        await connection.send(json.dumps({"type": "started", "source": "desk"}))
        async for message in connection:
            if isinstance(message, str):
                await connection.send(json.dumps({"type": "stopped"}))
                return
            received.append(message)
            if number < 3 and len(received) == 4 * (number + 1):
                if number == 1:
                    await connection.send(json.dumps({"type": "error", "code": "stopping", "message": "restarts"}))
                return

    async def check() -> None:
        async with scripted(handle) as server:
            port = server.sockets[0].getsockname()[1]
            await run(Sender(source=HandedOver(received), url=f"ws://localhost:{port}/", name="desk", sleep=no_pause))

    asyncio.run(check())
    sent = np.clip(np.rint(LOUD * 32_768), -32_768, 32_767).astype("<i2").tobytes()
    position = 0
    for part in received:  # in order; what was on its way when the connection was lost is missing
        found = sent.find(part, position)
        assert found >= position
        position = found + len(part)
    assert position == len(sent)
    assert len(received) >= len(BLOCKS) - 3, "one at most per lost connection"


def test_what_was_kept_during_an_outage_is_dated_and_sent_at_twice_its_speed(
    capsys: pytest.CaptureFixture[str],
) -> None:
    now_s, minute = [100.0], [Block("desk", at * 16_000, np.zeros((16_000, 1), np.float32)) for at in range(70)]
    starts: list[dict[str, Any]] = []
    arrived: list[float] = []

    class Kept(FakeSource):
        """70 s of live audio, recorded before the node is there."""

        async def _generate_blocks(self) -> AsyncIterator[Any]:
            for block in self._blocks:
                now_s[0] += 1
                yield block
            there.set()
            await wait_until(lambda: len(arrived) == 60)

    async def handle(connection: ServerConnection, _: int) -> None:
        starts.append(json.loads(await connection.recv()))
        await connection.send(json.dumps({"type": "started", "source": "desk"}))
        async for message in connection:
            if isinstance(message, str):
                await connection.send(json.dumps({"type": "stopped"}))
                return
            arrived.append(now_s[0])

    async def pass_time(pause_s: float) -> None:
        if there.is_set():
            now_s[0] += pause_s
        await asyncio.sleep(0)

    async def check() -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
        made = Kept(minute, source_id="desk", live=True)
        sender = Sender(
            source=made, url=f"ws://127.0.0.1:{port}/", name="desk", sleep=pass_time, clock=lambda: now_s[0]
        )
        sending = asyncio.create_task(run(sender))
        await there.wait()
        async with scripted(handle, port=port):
            await sending

    there = asyncio.Event()
    asyncio.run(check())
    assert starts[0]["age_s"] == pytest.approx(60, abs=1.0)
    assert len(arrived) == 60
    assert arrived[-1] - arrived[0] == pytest.approx((59 - MAX_BURST_S) / CATCH_UP_PACE, abs=3.0)
    assert "10.0 s of audio dropped; without a connection 60 s are kept" in capsys.readouterr().err


@pytest.mark.slow
def test_a_node_dates_events_by_the_age_of_the_audio() -> None:
    async def check() -> None:
        async with network_node(serve={"max_ahead_s": 0.5}) as node:
            async with connect(f"ws://127.0.0.1:{node.listener.port}/v1/stream") as client:
                await client.send(json.dumps({"type": "start", "rate_hz": 16_000, "source": "desk", "age_s": 40}))
                opened_s = time.time()
                pcm = np.rint(LOUD * 32_768).astype("<i2").tobytes()
                for start in range(0, len(pcm), 32_000):
                    await client.send(pcm[start : start + 32_000])
                await client.send(json.dumps({"type": "stop"}))
                await client.wait_closed()
            await node.wait_ended("desk")
            end = next(event for event in node.events if isinstance(event, StreamEvent) and event.state == "ended")
            assert (end.end_s, end.outcome) == (4.0, "hung_up")
            assert end.time.timestamp() == pytest.approx(opened_s - 40 + 4, abs=0.5)

    asyncio.run(check())


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        ({"type": "error", "code": "malformed", "message": "bad rate"}, "the node refused the stream: bad rate"),
        ({"type": "error", "code": "unauthorized", "message": "wrong token"}, "refused the stream: wrong token"),
    ],
)
def test_a_refusal_ends_it(answer: dict[str, str], sentence: str) -> None:
    async def handle(connection: ServerConnection, number: int) -> None:  # noqa: ARG001
        await connection.recv()
        await connection.send(json.dumps(answer))

    async def check() -> None:
        async with scripted(handle) as server:
            port = server.sockets[0].getsockname()[1]
            await run(Sender(source=source(), url=f"ws://localhost:{port}/", name="desk", sleep=no_pause))

    with pytest.raises(SettingsError, match=sentence):
        asyncio.run(check())


@pytest.mark.slow
def test_the_token_is_sent_and_a_wrong_one_is_one_sentence() -> None:
    async def check(token: str) -> None:
        async with network_node(serve={"token": TOKEN}) as node:
            url = node_url(f"127.0.0.1:{node.listener.port}")
            await run(Sender(source=source(), url=url, name="desk", token=token))

    asyncio.run(check(TOKEN))
    with pytest.raises(TonewatchError, match=r"refused the token; set serve\.token"):
        asyncio.run(check("wrong-horse-battery"))


def test_live_audio_that_waits_is_bounded_and_keeps_the_newest() -> None:
    async def check() -> None:
        now_s = [0.0]
        unsent = UnsentAudio(rate_hz=100, live=True, clock=lambda: now_s[-1])
        for second in range(80):
            now_s.append(second + 1.0)
            await unsent.put(np.full((100, 1), second / 100, np.float32))
        assert unsent.age_s == MAX_UNSENT_S
        assert unsent.take_dropped_s() == 80 - MAX_UNSENT_S
        assert not unsent.take_dropped_s(), "each once"
        first = await unsent.first()
        assert first is not None
        assert np.frombuffer(first[0], "<i2")[0] == round((80 - MAX_UNSENT_S) / 100 * 32_768)

    asyncio.run(check())


def test_audio_of_a_file_waits_for_room() -> None:
    async def check() -> None:
        unsent = UnsentAudio(rate_hz=100, live=False)
        for _ in range(round(MAX_UNSENT_S)):
            await unsent.put(np.zeros((100, 1), np.float32))
        putting = asyncio.create_task(unsent.put(np.zeros((100, 1), np.float32)))
        await asyncio.sleep(0)
        assert not putting.done()
        first = await unsent.first()
        assert first is not None
        await unsent.remove_first(first[0])
        await putting
        assert not unsent.take_dropped_s()
        assert not unsent.age_s

    asyncio.run(check())


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("node.lan", "ws://node.lan:8765/v1/stream"),
        ("node.lan:9000", "ws://node.lan:9000/v1/stream"),
        ("wss://node.lan", "wss://node.lan/v1/stream"),
        ("ws://[::1]:8765/", "ws://[::1]:8765/v1/stream"),
        ("wss://proxy/ears/v1/stream", "wss://proxy/ears/v1/stream"),
    ],
)
def test_addresses_of_nodes(text: str, url: str) -> None:
    assert node_url(text) == url


@pytest.mark.parametrize("text", ["http://node", "ws://", "ws://node:99999", "ws://node/?token=secret", "ws://me@node"])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(SettingsError, match="is no address of a node") as refusal:
        node_url(text)
    assert "secret" not in str(refusal.value)


def test_a_node_accepts_the_greatest_age_that_is_sent() -> None:
    assert generic.MAX_AGE_S == MAX_AGE_S
