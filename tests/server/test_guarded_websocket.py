"""WebSocket frames that cost work and bring nothing: the client is disconnected, and nobody else is delayed."""

from __future__ import annotations

import asyncio
import base64
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import Any

import pytest
import websockets
from starlette.types import Receive, Scope, Send

from stream.server.guarded_websocket import (
    ABNORMAL_CLOSURE,
    MAX_IDLE_FRAMES,
    MAX_MESSAGES_PER_TURN,
    PIECE_BYTES,
    GuardedWebSocket,
)
from stream.server.http import HttpServer
from tests.support.waiting import wait_until

MASK = b"\0\0\0\0"
MESSAGES = 20_000

IDLE = {
    "empty pings": bytes([0x89, 0x80]) + MASK,
    "pings": bytes([0x89, 0x80 | 125]) + MASK + bytes(125),
    "empty pongs": bytes([0x8A, 0x80]) + MASK,
    "empty fragments": bytes([0x00, 0x80]) + MASK,
    "fragments of a byte": bytes([0x00, 0x81]) + MASK + b"a",
}
BEGINNING = bytes([0x01, 0x80]) + MASK
"""The first fragment of a text message."""

Application = Callable[[Scope, Receive, Send], Awaitable[None]]


async def collecting(receive: Receive, send: Send, into: list[Any]) -> None:
    """Accept a WebSocket, and collect its messages and its end."""
    await receive()
    await send({"type": "websocket.accept"})
    while True:
        message = await receive()
        if message["type"] == "websocket.disconnect":
            into.append(message["code"])
            return
        into.append(message.get("bytes"))


@asynccontextmanager
async def serving(application: Application) -> AsyncIterator[HttpServer]:
    async with HttpServer(
        app=application, host="127.0.0.1", port=0, setting="serve.port", shutdown_timeout_s=0, ws=GuardedWebSocket
    ) as server:
        yield server


async def connected(server: HttpServer) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    key = base64.b64encode(os.urandom(16)).decode()
    writer.write(
        f"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n".encode()
    )
    assert b"101" in await reader.readuntil(b"\r\n\r\n")
    return reader, writer


@pytest.mark.parametrize("kind", IDLE)
def test_a_flood_of_frames_without_a_message_ends_its_connection_alone(kind: str) -> None:
    ended: list[Any] = []

    async def application(_scope: Scope, receive: Receive, send: Send) -> None:
        await collecting(receive, send, ended)

    async def check() -> None:
        async with serving(application) as server, asyncio.timeout(20):
            reader, writer = await connected(server)
            async with websockets.connect(f"ws://127.0.0.1:{server.port}/") as other:
                writer.write((BEGINNING if "fragments" in kind else b"") + 10 * MAX_IDLE_FRAMES * IDLE[kind])
                try:
                    while await reader.read(65_536):  # replies to the first pings
                        pass
                except ConnectionResetError:
                    pass
                await wait_until(lambda: ended == [ABNORMAL_CLOSURE])
                await (await other.ping())
            writer.close()

    asyncio.run(check())


def test_what_a_real_client_sends_beside_messages_is_no_flood() -> None:
    received: list[Any] = []

    async def application(_scope: Scope, receive: Receive, send: Send) -> None:
        await collecting(receive, send, received)

    async def check() -> None:
        async with serving(application) as server, websockets.connect(f"ws://127.0.0.1:{server.port}/") as client:
            await client.send(bytes([number]) for number in range(200))  # two hundred fragments of one message
            for _ in range(100):
                await (await client.ping())
        assert received == [bytes(range(200)), 1000]

    asyncio.run(check())


@pytest.mark.parametrize("closes", [True, False])
def test_every_message_arrives_in_order_however_many_come_at_once(closes: bool) -> None:  # noqa: FBT001
    received: list[Any] = []

    async def application(_scope: Scope, receive: Receive, send: Send) -> None:
        await collecting(receive, send, received)

    async def check() -> None:
        async with serving(application) as server, asyncio.timeout(30):
            _, writer = await connected(server)
            messages = [number.to_bytes(4) for number in range(MESSAGES)]
            writer.write(b"".join(bytes([0x82, 0x84]) + MASK + message for message in messages))
            if closes:
                writer.write(bytes([0x88, 0x82]) + MASK + (1001).to_bytes(2))
            writer.write_eof()
            await wait_until(lambda: len(received) > MESSAGES)
            assert received == [*messages, 1001 if closes else ABNORMAL_CLOSURE]
            writer.close()

    asyncio.run(check())


def test_no_more_is_parsed_than_the_application_takes() -> None:
    """A read of 256 KiB holds 43,000 empty messages: parsed at once, they kept the event loop busy for a second."""
    go_on = asyncio.Event()

    async def application(_scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        await go_on.wait()

    async def check() -> None:
        async with serving(application) as server, asyncio.timeout(20):
            _, writer = await connected(server)
            empty = bytes([0x82, 0x80]) + MASK
            writer.write(MESSAGES * empty)

            def waiting() -> int:
                assert server._server is not None
                open_ones = server._server.server_state.connections
                return max((one.queue.qsize() for one in open_ones if isinstance(one, GuardedWebSocket)), default=0)

            await wait_until(waiting)
            assert waiting() <= PIECE_BYTES // len(empty) + 1
            go_on.set()
            writer.close()

    asyncio.run(check())


def test_many_messages_at_once_leave_turns_to_others() -> None:
    received: list[Any] = []
    turns: list[int] = []

    async def application(_scope: Scope, receive: Receive, send: Send) -> None:
        await collecting(receive, send, received)

    async def check() -> None:
        async with serving(application) as server, asyncio.timeout(20):
            _, writer = await connected(server)
            writer.write(MESSAGES * (bytes([0x82, 0x80]) + MASK))
            while len(received) < MESSAGES:
                turns.append(len(received))
                await asyncio.sleep(0)
            writer.close()

    asyncio.run(check())
    assert max(later - earlier for earlier, later in pairwise(turns)) <= 2 * MAX_MESSAGES_PER_TURN


def test_a_request_with_two_lengths_is_refused_and_nothing_behind_it_is_read() -> None:
    """A proxy that goes by the other length would take what follows for a request of somebody else."""
    answered: list[str] = []

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        answered.append(scope["path"])
        await receive()
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body"})

    async def check() -> bytes:
        async with serving(application) as server:
            request = (
                b"POST /first HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n"
                b"0\r\n\r\nGET /second HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
            )
            with socket.create_connection(("127.0.0.1", server.port)) as client:
                client.sendall(request)
                client.settimeout(20)
                return await asyncio.to_thread(lambda: b"".join(iter(lambda: client.recv(65_536), b"")))

    answer = asyncio.run(check())
    assert answer.startswith(b"HTTP/1.1 400")
    assert answer.count(b"HTTP/1.1") == 1
    assert answered == []
