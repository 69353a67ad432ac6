"""Reads of a TCP socket: a client that sends more than is processed does not keep the event loop for itself."""

from __future__ import annotations

import asyncio
from unittest.mock import Mock

from stream.server.audiosocket import READ_BYTES, _SocketTransport

READS = 20


def test_others_have_a_turn_after_each_full_read() -> None:
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async def check() -> None:
        reader = asyncio.StreamReader()
        reader.feed_data(READS * READ_BYTES * b"\0")  # `read` returns what has arrived without a turn of the loop
        transport = _SocketTransport(reader, Mock(), Mock())
        beside = asyncio.create_task(other())
        for _ in range(READS):
            assert len(await transport.receive() or b"") == READ_BYTES
        beside.cancel()

    asyncio.run(check())
    assert turns >= READS - 1
