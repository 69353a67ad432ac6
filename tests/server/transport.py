"""A connection without a socket."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from stream.server.sockets import SocketBudget


class FakeTransport:
    """Delivers the messages of a test, and keeps what is sent; without `reads` the peer reads nothing."""

    def __init__(self, *messages: Any, reads: bool = True, is_proven: bool = True) -> None:
        self.inbox: asyncio.Queue[str | bytes | None] = asyncio.Queue()
        for message in messages:
            self.put(message)
        self.sent: list[Any] = []
        self.closed: tuple[int, str] | None = None
        self.aborted = False
        self._reads = reads
        slot = SocketBudget(max_sockets=8).admit(address="10.0.0.1", is_local=False, abort=self.abort)
        assert slot is not None
        self.slot = slot
        if is_proven:
            slot.prove()

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
