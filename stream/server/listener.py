"""The listening sockets: uvicorn for WebSockets and the dashboard, asyncio for AudioSocket and Wyoming.

They are opened together before the run starts, so that a port in use is one error message, and closed together after
the run, once every connection is closed.
"""

from __future__ import annotations

import asyncio
import base64
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Self

from stream.errors import SettingsError
from stream.server import signatures
from stream.server.access import AccessPolicy
from stream.server.announcement import announced
from stream.server.audiosocket import AudioSocketServer
from stream.server.descriptors import accept_backlog
from stream.server.doors import WEBSOCKET_DOORS, Door
from stream.server.gateway import Gateway
from stream.server.guarded_websocket import GuardedWebSocket
from stream.server.http import HttpServer, bind
from stream.server.sockets import SocketBudget
from stream.server.websockets import Mounts, create_app
from stream.server.wyoming import WyomingServer, upstream_address
from stream.settings import ServeSettings

SHUTDOWN_TIMEOUT_S = 2

MAX_QUEUED_MESSAGES = 16
"""Maximum number of received messages that wait per connection."""

MAX_QUEUED_BYTES = 131_072
"""The same for messages that are as long as the newest one."""


class _WebSocket(GuardedWebSocket):
    """uvicorn's WebSocket with an abort function; keeps reading while few messages wait (uvicorn pauses after each)."""

    async def run_asgi(self) -> None:
        self.scope["state"]["abort"] = self.transport.abort
        await super().run_asgi()

    def send_receive_event_to_app(self) -> None:
        paused, self.read_paused = self.read_paused, True
        size = sum(map(len, self.frames))
        super().send_receive_event_to_app()
        self.read_paused = paused
        limit = min(MAX_QUEUED_MESSAGES, max(1, MAX_QUEUED_BYTES // max(1, size)))
        if not paused and self.queue.qsize() >= limit:
            self.read_paused = True
            self.transport.pause_reading()


class NetworkListener:
    """Listens while entered. `port` and the other ports are the actual ones, also where a free one was requested.

    `mounts` are further applications; clients that `page_access`, the policy of a dashboard among them, authorizes may
    send audio. `branch` is the one of the settings that host, port and token come from, for error messages.
    """

    def __init__(
        self, *, gateway: Gateway, mounts: Mounts = (), page_access: AccessPolicy | None = None, branch: str = "serve"
    ) -> None:
        self._gateway, self._settings, self._branch = gateway, gateway.settings, branch
        self._mounts, self._page_access = mounts, page_access
        self.port = self.audiosocket_port = self.wyoming_port = 0
        self.budget: SocketBudget  # of all sockets, once entered
        self._resources = AsyncExitStack()

    async def __aenter__(self) -> Self:
        """Open the ports. Raises `ListenError`, or `SettingsError` for settings that are invalid or not safe."""
        settings = self._settings
        access = AccessPolicy(
            host=settings.host, token=settings.token.get_secret_value(), origins=settings.origins, branch=self._branch
        )
        _check(settings)
        server = HttpServer(
            app=create_app(self._gateway, access=access, page_access=self._page_access, mounts=self._mounts),
            host=settings.host,
            port=settings.port,
            setting=f"{self._branch}.port",
            shutdown_timeout_s=SHUTDOWN_TIMEOUT_S,
            trusted_proxies=settings.trusted_proxies,
            ws=_WebSocket,
            ws_max_size=settings.max_message_bytes,
            ws_ping_interval=None,  # idle connections are closed anyway; under back-pressure a pong could not be read
            ws_per_message_deflate=False,  # audio does not compress, and decompression bombs are excluded
        )
        self.budget = server.budget
        async with AsyncExitStack() as opening:
            if settings.audiosocket_port is not None:
                opening.callback((await self._open_audiosocket(settings.audiosocket_port, server.budget)).close)
            if settings.wyoming_port is not None:
                await self._open_wyoming(settings.wyoming_port, server.budget, opening)
            await opening.enter_async_context(server)
            self.port = server.port
            opening.callback(asyncio.create_task(self._gateway.run_housekeeping(), name="gateway").cancel)
            self._resources = opening.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the ports and the remaining connections."""
        if self._gateway.closing_tasks:
            await asyncio.wait(self._gateway.closing_tasks, timeout=SHUTDOWN_TIMEOUT_S)
        await self._resources.aclose()

    @property
    def doors(self) -> tuple[Door, ...]:
        """Where audio can be sent, once entered."""
        ports = {"Asterisk AudioSocket": self.audiosocket_port, "Wyoming": self.wyoming_port}
        return (*WEBSOCKET_DOORS, *(Door(name, port=port) for name, port in ports.items() if port))

    async def _open_audiosocket(self, port: int, budget: SocketBudget) -> asyncio.Server:
        listening = bind(self._settings.host, port, setting="serve.audiosocket_port")
        self.audiosocket_port = listening.getsockname()[1]
        handle = AudioSocketServer(self._gateway, budget).handle
        return await asyncio.start_server(handle, sock=listening, backlog=accept_backlog(budget.max_sockets))

    async def _open_wyoming(self, port: int, budget: SocketBudget, opening: AsyncExitStack) -> None:
        """Listen for Wyoming, and announce it if asked to, until `opening` is closed."""
        settings = self._settings
        wyoming = WyomingServer(self._gateway, budget)
        listening = bind(settings.host, port, setting="serve.wyoming_port")
        self.wyoming_port = listening.getsockname()[1]
        server = await asyncio.start_server(wyoming.handle, sock=listening, backlog=accept_backlog(budget.max_sockets))
        opening.callback(wyoming.close)
        opening.callback(server.close)
        if settings.wyoming_announce:
            await opening.enter_async_context(
                announced(host=settings.host, port=self.wyoming_port, name=settings.wyoming_source)
            )


def _check(settings: ServeSettings) -> None:
    """Raises `SettingsError` for what could only fail later, call by call."""
    for key, networks in (
        ("audiosocket_peers", settings.audiosocket_peers),
        ("wyoming_peers", settings.wyoming_peers),
        ("trusted_proxies", settings.trusted_proxies),
    ):
        try:
            signatures.is_within("127.0.0.1", networks)
        except ValueError as error:
            raise SettingsError(f"invalid serve.{key}: {error}; use networks such as 10.0.0.0/8") from None
    if settings.wyoming_port is not None:
        upstream_address(settings)
    if settings.twilio_auth_token.get_secret_value() and not settings.public_url:
        raise SettingsError(
            "serve.twilio_auth_token needs serve.public_url, which Twilio signs; set it to the address it calls"
        )
    try:
        base64.b64decode(settings.audiohook_secret.get_secret_value(), validate=True)
    except ValueError:
        raise SettingsError(
            "serve.audiohook_secret is not base64; copy the client secret of the integration as it is shown"
        ) from None
