"""The listening sockets: uvicorn for WebSockets and pages, asyncio for AudioSocket.

Opened together, before anything is heard, so that a port that is taken is one sentence; closed together after the run,
when every session has said good-bye.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Self

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from stream.errors import SettingsError
from stream.server import signatures
from stream.server.access import AccessPolicy
from stream.server.audiosocket import AudioSocketServer
from stream.server.gateway import Gateway
from stream.server.http import BACKLOG, HttpServer, bind
from stream.server.websockets import Mounts, create_app

GOODBYE_S = 2

AHEAD = 16
"""Messages of one connection that may wait."""


class _WebSocket(WebSocketsSansIOProtocol):
    """uvicorn's, but it can be cut off, and reads on while few messages wait: uvicorn stops and starts at every one."""

    async def run_asgi(self) -> None:
        self.scope["state"]["abort"] = self.transport.abort
        await super().run_asgi()

    def send_receive_event_to_app(self) -> None:
        paused, self.read_paused = self.read_paused, True
        super().send_receive_event_to_app()
        self.read_paused = paused
        if not paused and self.queue.qsize() >= AHEAD:
            self.read_paused = True
            self.transport.pause_reading()


class NetworkListener:
    """Listens while it is entered. `port` and `audiosocket_port` say where, also when any free one was asked for.

    `mounts` are applications behind the listener's own paths; whoever the `page` among them admits may bring sound.
    """

    def __init__(self, *, gateway: Gateway, mounts: Mounts = (), page: AccessPolicy | None = None) -> None:
        self._gateway, self._settings = gateway, gateway.settings
        self._mounts, self._page = mounts, page
        self.port = self.audiosocket_port = 0
        self._open = AsyncExitStack()

    async def __aenter__(self) -> Self:
        """Open the ports. Raises `ListenError`, or `SettingsError` where it would not be safe."""
        settings = self._settings
        door = AccessPolicy(
            host=settings.host, token=settings.token.get_secret_value(), origins=settings.origins, branch="serve"
        )
        try:
            signatures.is_within("127.0.0.1", settings.audiosocket_peers)
        except ValueError as error:
            raise SettingsError(f"serve.audiosocket_peers: {error}") from None
        site = HttpServer(
            app=create_app(self._gateway, door=door, page=self._page, mounts=self._mounts),
            host=settings.host,
            port=settings.port,
            setting="serve.port",
            goodbye_s=GOODBYE_S,
            ws=_WebSocket,
            ws_max_size=settings.max_message_bytes,
            ws_ping_interval=None,  # who is idle is closed anyway, and who is held back could not answer
            ws_per_message_deflate=False,  # sound does not shrink, and a bomb must not grow
        )
        async with AsyncExitStack() as opening:
            if settings.audiosocket_port is not None:
                opening.callback((await self._open_audiosocket(settings.audiosocket_port)).close)
            await opening.enter_async_context(site)
            self.port = site.port
            opening.callback(asyncio.create_task(self._gateway.watch(), name="gateway").cancel)
            self._open = opening.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the ports and what is still connected."""
        if self._gateway.farewells:
            await asyncio.wait(self._gateway.farewells, timeout=GOODBYE_S)
        await self._open.aclose()

    async def _open_audiosocket(self, port: int) -> asyncio.Server:
        bound = bind(self._settings.host, port, setting="serve.audiosocket_port")
        self.audiosocket_port = bound.getsockname()[1]
        return await asyncio.start_server(AudioSocketServer(self._gateway).take, sock=bound, backlog=BACKLOG)
