"""An HTTP receiver for webhooks that a test scripts: what it answers, when it is down, and what it got."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self


@dataclass(frozen=True, slots=True)
class Received:
    """One request."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def event(self) -> dict[str, Any]:
        parsed: dict[str, Any] = json.loads(self.body)
        return parsed


Script = Callable[[Received, int], str]
"""Returns status and further header lines for a request and its number; "" closes the connection without an answer."""


class Receiver:
    """A server on a port of localhost; `port` is kept when it is stopped and started again."""

    def __init__(self, script: Script = lambda request, number: "204 No Content") -> None:  # noqa: ARG005
        self.script = script
        self.requests: list[Received] = []
        self.hold: Callable[[Received], Awaitable[object] | None] = lambda request: None  # noqa: ARG005
        self.port = 0
        self.tls: ssl.SSLContext | None = None
        self._server: asyncio.Server | None = None
        self._accepted: set[int] = set()
        self._connections: dict[asyncio.StreamWriter, asyncio.Task[None] | None] = {}

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    @property
    def accepted_ids(self) -> list[str]:
        """The ids of the events that were answered with 2xx, in order."""
        return [request.event["id"] for number, request in enumerate(self.requests) if number in self._accepted]

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "localhost", self.port, ssl=self.tls)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
            for writer in self._connections:
                writer.close()
            await asyncio.gather(*filter(None, self._connections.values()))
            await self._server.wait_closed()
            self._server = None

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections[writer] = asyncio.current_task()
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                first, *lines = head.decode("latin-1").split("\r\n")
                headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
                body = await reader.readexactly(int(headers.get("content-length", 0)))
                request, number = Received(first.split()[1], headers, body), len(self.requests)
                self.requests.append(request)
                if (holding := self.hold(request)) is not None:
                    await holding
                answer = self.script(request, number)
                if not answer:
                    return
                if answer.startswith("2"):
                    self._accepted.add(number)
                writer.write(f"HTTP/1.1 {answer}\r\ncontent-length: 0\r\n\r\n".encode())
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            writer.close()
            del self._connections[writer]
