"""The listening sockets: uvicorn for WebSockets and pages, asyncio for AudioSocket.

Opened together, before anything is heard, so that a port that is taken is one sentence; closed together after the run,
when every session has said good-bye.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Iterator
from types import TracebackType
from typing import Any, Self

import uvicorn

from stream.errors import ListenError, SettingsError
from stream.server import security
from stream.server.gateway import Gateway
from stream.server.sockets import SocketShell
from stream.server.websockets import Mounts, create_app

BACKLOG = 512


class _Uvicorn(uvicorn.Server):
    """Leaves signals to whoever runs it."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class NetworkListener:
    """Listens while it is entered. `port` and `audiosocket_port` say where, also when any free one was asked for."""

    def __init__(self, *, gateway: Gateway, mounts: Mounts = ()) -> None:
        self._gateway, self._mounts = gateway, mounts
        self._settings = gateway.settings
        self.port = self.audiosocket_port = 0
        self._server: _Uvicorn | None = None
        self._tasks: list[asyncio.Task[Any]] = []
        self._sockets: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        """Open the ports. Raises `ListenError`, or `SettingsError` where it would not be safe."""
        settings = self._settings
        if not security.is_loopback(settings.host) and not settings.token.get_secret_value():
            raise SettingsError(
                f"serve.host {settings.host} can be reached from elsewhere, so a token is needed: "
                "set TONEWATCH__SERVE__TOKEN"
            )
        try:
            security.is_within("127.0.0.1", settings.audiosocket_peers)
        except ValueError as error:
            raise SettingsError(f"serve.audiosocket_peers: {error}") from None
        web = _bind(settings.host, settings.port)
        self.port = web.getsockname()[1]
        if settings.audiosocket_port is not None:
            await self._open_audiosocket(settings.audiosocket_port)
        logging.getLogger("uvicorn.error").setLevel(logging.WARNING)  # it would log addresses with their tokens
        self._server = _Uvicorn(
            uvicorn.Config(
                create_app(self._gateway, mounts=self._mounts, abort=self._abort),
                log_config=None,
                access_log=False,
                lifespan="off",
                ws="websockets-sansio",
                ws_max_size=settings.max_message_bytes,
                ws_ping_interval=None,  # who is idle is closed anyway, and who is held back could not answer
                ws_per_message_deflate=False,  # sound does not shrink, and a bomb must not grow
                timeout_graceful_shutdown=2,
                server_header=False,
                backlog=BACKLOG,
            )
        )
        self._tasks = [
            asyncio.create_task(self._server.serve(sockets=[web]), name="listener"),
            asyncio.create_task(self._gateway.watch(), name="gateway"),
        ]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the ports and what is still connected."""
        if self._gateway.farewells:
            await asyncio.wait(self._gateway.farewells, timeout=2)
        if self._sockets is not None:
            self._sockets.close()
        if self._server is not None:
            self._server.should_exit = True
        listener, watch = self._tasks
        watch.cancel()
        await asyncio.gather(listener, watch, return_exceptions=True)

    async def _open_audiosocket(self, port: int) -> None:
        bound = _bind(self._settings.host, port)
        self.audiosocket_port = bound.getsockname()[1]
        self._sockets = await asyncio.start_server(SocketShell(self._gateway).take, sock=bound, backlog=BACKLOG)

    def _abort(self, client: tuple[str, int]) -> None:
        """Cut a connection off; ASGI has no word for it."""
        connections: Any = self._server.server_state.connections if self._server is not None else ()
        for connection in tuple(connections):
            if getattr(connection, "client", None) == client:
                connection.transport.abort()


def _bind(host: str, port: int) -> socket.socket:
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0][0]
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise ListenError(
            f"cannot listen on {host}:{port} ({error.strerror or error}); choose another with --host and --port"
        ) from None
