"""The WebSocket endpoints: a Starlette application around the gateway.

    /v1/stream       our own protocol: browsers and any other client
    /v1/twilio       Twilio and Telnyx media streams
    /v1/asterisk     chan_websocket; ?call=ID&party=customer|agent
    /v1/audiohook    Genesys AudioHook

`create_app` takes more to mount behind them, a dashboard for instance. What may not connect is refused before the
WebSocket is accepted: a page of another origin, and whoever shows neither the token nor what its protocol has instead.
Whoever may see the page may bring sound to it: the browser's cookie is enough, and the token stays out of addresses.
ASGI has no word for cutting a connection off: the server must leave an `abort` in the connection's state.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping, Sequence
from typing import Any

from starlette.applications import Starlette
from starlette.routing import BaseRoute, Mount, WebSocketRoute
from starlette.types import ASGIApp
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from stream.events import Party
from stream.server import signatures
from stream.server.access import AccessPolicy, is_same
from stream.server.gateway import Gateway
from stream.server.protocols.asterisk import AsteriskProtocol
from stream.server.protocols.audiohook import AudioHookProtocol
from stream.server.protocols.base import ConnectionProtocol
from stream.server.protocols.generic import GenericProtocol
from stream.server.protocols.twilio import TwilioProtocol

Mounts = Sequence[tuple[str, ASGIApp]]
"""Paths and the applications behind them."""


def create_app(
    gateway: Gateway, *, door: AccessPolicy, page: AccessPolicy | None = None, mounts: Mounts = ()
) -> Starlette:
    """The endpoints, and behind them what else is mounted; `page` is the door of the page among that."""
    endpoints = _Endpoints(gateway, door, page or door)
    routes: list[BaseRoute] = [
        WebSocketRoute("/v1/stream", endpoints.generic),
        WebSocketRoute("/v1/twilio", endpoints.twilio),
        WebSocketRoute("/v1/asterisk", endpoints.asterisk),
        WebSocketRoute("/v1/audiohook", endpoints.audiohook),
        *(Mount(path, app) for path, app in mounts),
    ]
    return Starlette(routes=routes)


class _Endpoints:
    """What is checked, and which protocol is spoken, at each address."""

    def __init__(self, gateway: Gateway, door: AccessPolicy, page: AccessPolicy) -> None:
        self._gateway, self._door, self._page = gateway, door, page
        settings = gateway.settings
        self._twilio = settings.twilio_auth_token.get_secret_value()
        self._api_key = settings.audiohook_api_key.get_secret_value()
        secret = settings.audiohook_secret.get_secret_value()
        self._signatures = signatures.GenesysSignatures(secret=secret) if secret else None

    async def generic(self, websocket: WebSocket) -> None:
        """Our own protocol."""
        admitted = self._shows_token(websocket) or self._page.admits(websocket.headers)
        await self._serve(websocket, GenericProtocol(), admitted=admitted)

    async def twilio(self, websocket: WebSocket) -> None:
        """Twilio signs the request, or its stream brings the token as a parameter."""
        settings, admits = self._gateway.settings, None
        if self._twilio:
            base = settings.public_url.rstrip("/") or f"wss://{websocket.headers.get('host', '')}"
            query = f"?{websocket.url.query}" if websocket.url.query else ""
            admitted = signatures.is_signed_by_twilio(
                websocket.headers.get("x-twilio-signature", ""),
                url=f"{base}{websocket.url.path}{query}",
                key=self._twilio,
            )
        else:
            admitted = True
            if not self._shows_token(websocket):
                admits = self._brings_token
        await self._serve(websocket, TwilioProtocol(admits=admits), admitted=admitted)

    async def asterisk(self, websocket: WebSocket) -> None:
        """The dial string says which call and party."""
        party: Party | None = None
        match websocket.query_params.get("party"):
            case "customer":
                party = "customer"
            case "agent":
                party = "agent"
        protocol = AsteriskProtocol(call=websocket.query_params.get("call", ""), party=party)
        await self._serve(websocket, protocol, admitted=self._shows_token(websocket), subprotocol="media")

    async def audiohook(self, websocket: WebSocket) -> None:
        """The API key, and the signature, where they are set."""
        headers = websocket.headers
        admitted = self._shows_token(websocket)
        if self._api_key:
            admitted = is_same(headers.get("x-api-key", ""), self._api_key)
        if self._signatures is not None and (admitted or not self._api_key):
            query = f"?{websocket.url.query}" if websocket.url.query else ""
            admitted = self._signatures.takes(headers, target=f"{websocket.url.path}{query}", now_s=time.time())
        protocol = AudioHookProtocol(
            session=headers.get("audiohook-session-id", ""), organization=headers.get("audiohook-organization-id", "")
        )
        await self._serve(websocket, protocol, admitted=admitted)

    def _shows_token(self, websocket: WebSocket) -> bool:
        """In a header; or in the address, for those who cannot set headers."""
        return self._door.admits(websocket.headers) or self._door.is_token(websocket.query_params.get("token", ""))

    def _brings_token(self, parameters: Mapping[str, Any]) -> bool:
        return self._door.is_token(str(parameters.get("token", "")))

    async def _serve(
        self, websocket: WebSocket, protocol: ConnectionProtocol, *, admitted: bool, subprotocol: str | None = None
    ) -> None:
        if not (admitted and self._door.is_ours(websocket.headers)):
            self._gateway.turn_away(protocol.name)
            await websocket.close(1008)  # before it is accepted: HTTP 403
            return
        asked = websocket.scope.get("subprotocols", ())
        await websocket.accept(subprotocol=subprotocol if subprotocol in asked else None)
        peer = websocket.client.host if websocket.client is not None else "unknown"
        await self._gateway.serve(_WebSocketTransport(websocket), protocol, peer=peer)


class _WebSocketTransport:
    """A WebSocket as the gateway sees it."""

    def __init__(self, websocket: WebSocket) -> None:
        self._websocket = websocket

    async def receive(self) -> str | bytes | None:
        try:
            message = await self._websocket.receive()
        except RuntimeError:  # it was closed by us
            return None
        if message["type"] != "websocket.receive":
            return None
        text: str | None = message.get("text")
        return text if text is not None else message.get("bytes", b"")

    async def send(self, data: str | bytes) -> None:
        try:
            if isinstance(data, str):
                await self._websocket.send_text(data)
            else:
                await self._websocket.send_bytes(data)
        except (WebSocketDisconnect, RuntimeError, OSError):
            raise ConnectionResetError from None

    async def close(self, code: int, reason: str) -> None:
        if self._websocket.application_state is WebSocketState.CONNECTED:
            with contextlib.suppress(WebSocketDisconnect, RuntimeError, OSError):
                await self._websocket.close(code, reason)

    def abort(self) -> None:
        self._websocket.state.abort()
