"""The WebSocket endpoints: a Starlette application around the gateway.

    /v1/stream       tonewatch's own protocol: browsers and custom clients
    /v1/twilio       Twilio and Telnyx media streams
    /v1/asterisk     chan_websocket; /v1/freeswitch, /v1/jambonz, /v1/vonage, /v1/plivo, /v1/exotel alike
    /v1/audiohook    Genesys AudioHook
    /v1/calls/ID     POST: who is on a call, and that it is on hold or transferred, where its protocol cannot say it

`create_app` can mount further applications, such as the dashboard. Requests of pages with another origin, and requests
without the token or the protocol's own credential, are rejected before the WebSocket is accepted. A browser that is
authorized for the dashboard may send audio to `/v1/stream` with the dashboard's cookie, which keeps the token out of
URLs. ASGI has no operation that aborts a connection: the server must put an `abort` function into the connection state.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import time
from collections.abc import Mapping, Sequence
from typing import Any

from starlette.applications import Starlette
from starlette.requests import HTTPConnection, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Mount, Route, WebSocketRoute
from starlette.types import ASGIApp
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from stream.server import signatures
from stream.server.access import AccessPolicy, is_same_secret
from stream.server.call_labels import CHANGES, LABELS, read_change, read_labels
from stream.server.gateway import Gateway
from stream.server.guarded_websocket import ABNORMAL_CLOSURE
from stream.server.protocols.audiohook import AudioHookProtocol
from stream.server.protocols.base import ConnectionProtocol, ProtocolViolation, parse_object
from stream.server.protocols.generic import GenericProtocol
from stream.server.protocols.twilio import TwilioProtocol
from stream.server.roles import includes
from stream.server.sockets import SocketSlot
from stream.server.telephone_systems import TELEPHONE_SYSTEMS

Mounts = Sequence[tuple[str, ASGIApp]]
"""URL paths and the applications mounted there."""

MAX_LABELS_BYTES = 4_096

MAX_LOGGED_CHARACTERS = 120
"""Maximum length of a client's text within a log line."""


def create_app(
    gateway: Gateway, *, access: AccessPolicy, page_access: AccessPolicy | None = None, mounts: Mounts = ()
) -> Starlette:
    """Create the application; `page_access` is the policy of a dashboard among `mounts`."""
    endpoints = _Endpoints(gateway, access, page_access or access)
    routes: list[BaseRoute] = [
        WebSocketRoute("/v1/stream", endpoints.generic),
        WebSocketRoute("/v1/twilio", endpoints.twilio),
        WebSocketRoute("/v1/audiohook", endpoints.audiohook),
        *(WebSocketRoute(f"/v1/{name}", endpoints.telephone) for name in TELEPHONE_SYSTEMS),
        Route("/v1/calls/{call}", endpoints.describe_call, methods=["POST"]),
        *(Mount(path, app) for path, app in mounts),
    ]
    return Starlette(routes=routes)


class _Endpoints:
    """Authentication and protocol of each endpoint."""

    def __init__(self, gateway: Gateway, access: AccessPolicy, page_access: AccessPolicy) -> None:
        self._gateway, self._access, self._page_access = gateway, access, page_access
        settings = gateway.settings
        self._twilio_token = settings.twilio_auth_token.get_secret_value()
        self._api_key = settings.audiohook_api_key.get_secret_value()
        secret = settings.audiohook_secret.get_secret_value()
        self._signatures = signatures.GenesysSignatures(secret=secret) if secret else None

    async def generic(self, websocket: WebSocket) -> None:
        """Serve tonewatch's own protocol; the dashboard's cookie of a supervisor is accepted as well as the token."""
        authorized = self._has_token(websocket) or includes(self._page_access.role_of(websocket.headers), "supervisor")
        await self._serve(websocket, GenericProtocol(), authorized=authorized)

    async def describe_call(self, request: Request) -> Response:
        """Take what is known of a call, whose protocol may not carry it: a JSON object, before or during the call."""
        if not (self._has_token(request) and self._access.is_allowed_origin(request.headers)):
            peer = request.client.host if request.client is not None else "unknown"
            message = "missing or wrong token in a request to /v1/calls"
            await asyncio.sleep(self._gateway.count_rejected("calls", peer=peer, message=message))
            return PlainTextResponse("missing or wrong token; send it as `Authorization: Bearer TOKEN`\n", 401)
        body = b""
        async for part in request.stream():
            body += part
            if len(body) > MAX_LABELS_BYTES:
                return PlainTextResponse(f"request too long; at most {MAX_LABELS_BYTES} bytes\n", 413)
        try:
            fields = parse_object(body.decode())
        except (ProtocolViolation, UnicodeDecodeError):
            return PlainTextResponse("send a JSON object\n", 400)
        labels, change = read_labels(fields), read_change(fields)
        if change is None and ("change" in fields or not labels):
            return PlainTextResponse(f"send `change` ({', '.join(CHANGES)}) or one of {', '.join(LABELS)}\n", 400)
        if not self._gateway.describe(request.path_params["call"], labels, change) and change is not None:
            return PlainTextResponse("no such call is connected\n", 404)
        return Response(status_code=204)

    async def twilio(self, websocket: WebSocket) -> None:
        """Serve Twilio: the request is signed, or the stream has the token as a custom parameter."""
        settings, check_parameters = self._gateway.settings, None
        if self._twilio_token:
            base = settings.public_url.rstrip("/") or f"wss://{websocket.headers.get('host', '')}"
            authorized = signatures.is_signed_by_twilio(
                websocket.headers.get("x-twilio-signature", ""),
                url=f"{base}{_target(websocket)}",
                key=self._twilio_token,
            )
        else:
            authorized = self._access.has_token or self._has_token(websocket)
            if not self._has_token(websocket):
                check_parameters = self._has_token_parameter
        await self._serve(websocket, TwilioProtocol(is_authorized=check_parameters), authorized=authorized)

    async def telephone(self, websocket: WebSocket) -> None:
        """Serve a telephone system; the token is in its request or in its first message."""
        system = TELEPHONE_SYSTEMS[websocket.url.path.rpartition("/")[2]]
        authorized, check_fields = self._has_token(websocket), None
        has_none = "token" not in websocket.query_params and "authorization" not in websocket.headers
        if has_none and self._access.has_token and system.takes_token and not authorized:
            authorized, check_fields = True, self._has_token_parameter
        protocol = system.protocol(dict(websocket.query_params), check_fields)
        await self._serve(websocket, protocol, authorized=authorized, subprotocols=system.subprotocols)

    async def audiohook(self, websocket: WebSocket) -> None:
        """Serve AudioHook; API key and signature are checked if they are set."""
        headers = websocket.headers
        authorized = self._has_token(websocket)
        if self._api_key:
            authorized = is_same_secret(headers.get("x-api-key", ""), self._api_key)
        if self._signatures is not None and (authorized or not self._api_key):
            authorized = self._signatures.accept(headers, target=_target(websocket), now_s=time.time())
        protocol = AudioHookProtocol(
            session=headers.get("audiohook-session-id", ""), organization=headers.get("audiohook-organization-id", "")
        )
        await self._serve(websocket, protocol, authorized=authorized)

    def _why_refused(self, websocket: WebSocket, protocol: ConnectionProtocol) -> str:
        """Return what was wrong with a request that is not accepted, and what to check."""
        headers = websocket.headers
        seen = f"{headers.get('host', '')[:MAX_LOGGED_CHARACTERS]}{websocket.scope['path'][:MAX_LOGGED_CHARACTERS]}"
        if not self._access.is_allowed_origin(headers):
            return f"origin {headers.get('origin', '')[:MAX_LOGGED_CHARACTERS]!r} not allowed; add it to serve.origins"
        if isinstance(protocol, TwilioProtocol) and self._twilio_token:
            state = "wrong" if "x-twilio-signature" in headers else "missing"
            return f"{state} X-Twilio-Signature; check serve.twilio_auth_token and serve.public_url (here {seen!r})"
        if isinstance(protocol, AudioHookProtocol):
            if self._api_key and not is_same_secret(headers.get("x-api-key", ""), self._api_key):
                state = "wrong" if "x-api-key" in headers else "missing"
                return f"{state} X-API-KEY; check serve.audiohook_api_key"
            if self._signatures is not None:
                state = "wrong, expired or repeated" if "signature" in headers else "missing"
                return (
                    f"{state} signature; check serve.audiohook_secret, the clocks of both sides, and that a proxy "
                    f"passes Host and path on unchanged (here {seen!r})"
                )
        if not self._access.has_token:
            return f"a request from another machine ({seen!r}) needs a token; set {self._access.token_variable}"
        return "missing or wrong token; send it as `Authorization: Bearer TOKEN` or as ?token=TOKEN"

    def _has_token(self, websocket: HTTPConnection) -> bool:
        """Whether the token is in a header, or in the URL for clients that cannot set headers.

        Telephone systems have room for a user and a password (`wss://tonewatch:TOKEN@HOST/…`): the latter is the token.
        """
        given = (websocket.query_params.get("token", ""), _password(websocket.headers.get("authorization", "")))
        return self._access.is_authorized(websocket.headers) or any(map(self._access.is_token, given))

    def _has_token_parameter(self, parameters: Mapping[str, Any]) -> bool:
        return self._access.is_token(str(parameters.get("token", "")))

    async def _serve(
        self,
        websocket: WebSocket,
        protocol: ConnectionProtocol,
        *,
        authorized: bool,
        subprotocols: Sequence[str] = (),
    ) -> None:
        peer = websocket.client.host if websocket.client is not None else "unknown"
        if not (authorized and self._access.is_allowed_origin(websocket.headers)):
            message = self._why_refused(websocket, protocol)
            await asyncio.sleep(self._gateway.count_rejected(protocol.name, peer=peer, message=message))
            await websocket.close(1008)  # before acceptance: HTTP 403
            return
        if not protocol.awaits_proof:
            websocket.state.slot.prove()
        offered = websocket.scope.get("subprotocols", ())
        await websocket.accept(subprotocol=next((name for name in subprotocols if name in offered), None))
        await self._gateway.serve(_WebSocketTransport(websocket), protocol, peer=peer)


def _target(websocket: WebSocket) -> str:
    """Return the path with the query, as it was sent."""
    query = websocket.scope["query_string"].decode("latin-1")
    return f"{websocket.url.path}?{query}" if query else websocket.url.path


def _password(authorization: str) -> str:
    """Return the password in an `Authorization: Basic …` header, empty if it has none."""
    scheme, _, encoded = authorization.partition(" ")
    if scheme.lower() != "basic":
        return ""
    try:
        return base64.b64decode(encoded.strip(), validate=True).decode().partition(":")[2]
    except ValueError:
        return ""


class _WebSocketTransport:
    """A WebSocket as a `Transport`."""

    def __init__(self, websocket: WebSocket) -> None:
        self._websocket = websocket
        self.slot: SocketSlot = websocket.state.slot

    async def receive(self) -> str | bytes | None:
        try:
            message = await self._websocket.receive()
        except RuntimeError:  # closed by this side
            return None
        if message["type"] != "websocket.receive":
            if message.get("code") == ABNORMAL_CLOSURE:
                raise ConnectionResetError
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
