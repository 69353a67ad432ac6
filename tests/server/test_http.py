"""The HTTP server on loopback, apart from what it serves."""

from __future__ import annotations

import asyncio
import socket

import websockets
from starlette.types import Receive, Scope, Send

from stream.server.http import HttpServer, bind


def test_no_task_remains_once_it_is_closed() -> None:
    accepted = asyncio.Event()

    async def application(_scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        accepted.set()
        try:
            await asyncio.Event().wait()
        finally:
            for _ in range(10):
                await asyncio.sleep(0)  # what an application does to clean up

    async def check() -> set[asyncio.Task[None]]:
        server = HttpServer(app=application, host="127.0.0.1", port=0, setting="serve.port", shutdown_timeout_s=0)
        async with server:
            client = await websockets.connect(f"ws://127.0.0.1:{server.port}/")
            await accepted.wait()
        left = {task for task in asyncio.all_tasks() if "run_asgi" in repr(task)}
        await client.close()
        return left

    assert not asyncio.run(check())


def test_messages_do_not_wait_for_acknowledgements_of_earlier_ones() -> None:
    """Without `TCP_NODELAY`, the second of two small messages left 40 ms later."""
    with bind("127.0.0.1", 0, setting="serve.port") as listening:
        listening.setblocking(True)
        with socket.create_connection(listening.getsockname()), listening.accept()[0] as accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
