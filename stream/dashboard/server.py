"""The ASGI app of the dashboard: static files, the token form, and one WebSocket per page.

It can be mounted under any path: all its links are relative.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from urllib.parse import unquote_plus

from starlette.applications import Starlette
from starlette.requests import HTTPConnection, Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocket

from stream.dashboard.assets import Assets
from stream.dashboard.call_export import calls_csv
from stream.dashboard.call_page import MAX_ROWS, calls_page, report_page
from stream.dashboard.changes import MAX_SHOWN
from stream.dashboard.feed import Feed
from stream.dashboard.page_connection import MAX_MESSAGE_LENGTH, PageConnection
from stream.server.access import COOKIE, AccessPolicy
from stream.server.refusals import RefusedRequests
from stream.server.roles import Role, includes

STATIC = Path(__file__).parent / "static"
MAX_PAGES = 64
COOKIE_AGE_S = 30 * 86_400

HEADERS: Mapping[str, str] = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; worker-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "microphone=(self), camera=(), geolocation=()",
    "cache-control": "no-cache",
}
"""Sent with every response: only the dashboard's own files are loaded, executed, framed or posted to."""

PAGE_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
"""Of pages that are made of text alone."""

NO_CALLS = "no calls are kept; set dashboard.call_days"

POLICY_VIOLATION, TRY_AGAIN_LATER = 1008, 1013


def create_app(*, feed: Feed, access: AccessPolicy, refused: RefusedRequests) -> Starlette:
    """Create the app of one feed; `refused` counts requests without the credential."""
    assets = Assets(STATIC)
    endpoints = _Endpoints(feed, access, refused, assets)
    routes = [
        Route("/", endpoints.index),
        Route("/enter", endpoints.enter, methods=["POST"]),
        Route("/leave", endpoints.leave, methods=["POST"]),
        Route("/calls", endpoints.calls),
        Route("/report", endpoints.report),
        Route("/calls.csv", endpoints.calls),
        Route("/calls.ndjson", endpoints.calls),
        Route("/changes.ndjson", endpoints.changes),
        WebSocketRoute("/live", endpoints.live),
        Mount("/static", assets),
    ]
    app = Starlette(routes=routes)
    app.add_middleware(_HostGuard, access=access)
    return app


class _HostGuard:
    """Middleware that rejects HTTP requests for other host names, and adds `HEADERS` to responses."""

    def __init__(self, app: ASGIApp, access: AccessPolicy) -> None:
        self._app, self._access = app, access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await self._http(scope, receive, send)
        else:
            await self._app(scope, receive, send)  # `_Endpoints.live` checks WebSockets

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                present = {name.lower() for name, _ in message["headers"]}
                extra = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
                message["headers"] = [*message["headers"], *(pair for pair in extra if pair[0] not in present)]
            await send(message)

        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        app: ASGIApp = self._app
        if not self._access.is_allowed_host(headers):
            app = PlainTextResponse(f"{self._access.why_not_local}\n", 421)
        await app(scope, receive, send_with_headers)


class _Endpoints:
    """Handlers of the routes."""

    def __init__(self, feed: Feed, access: AccessPolicy, refused: RefusedRequests, assets: Assets) -> None:
        self._feed, self._access, self._refused = feed, access, refused
        self._index, self._form = assets.asset("index.html"), assets.asset("enter.html").content.decode()
        self._open_pages = 0

    async def index(self, request: Request) -> Response:
        """The page, or the form for the token."""
        if not self._access.is_authorized(request.headers):
            return self._token_form("")
        return self._index.response(request.headers)

    async def calls(self, request: Request) -> Response:
        """The history of calls as a page or a file, for supervisors; `?q=` has words that each call must have."""
        store, query = self._feed.store, request.query_params.get("q", "")[:MAX_MESSAGE_LENGTH]
        if (refusal := self._refusal(request, "supervisor")) is not None:
            return refusal
        if store is None or not store.call_days:
            return PlainTextResponse(f"{NO_CALLS}\n", 404)
        kept = store.calls(query=query)
        if request.url.path.endswith("/calls"):
            return _page(calls_page(list(islice(kept, MAX_ROWS)), query=query, days=store.call_days))
        if request.url.path.endswith(".csv"):
            return _file(calls_csv(list(kept)), "text/csv; charset=utf-8", "calls.csv")
        return _file("".join(f"{call.to_json()}\n" for call in kept), "application/x-ndjson", "calls.ndjson")

    async def report(self, request: Request) -> Response:
        """The report of a call that is kept, for supervisors: `?call=` has its id."""
        store = self._feed.store
        if (refusal := self._refusal(request, "supervisor")) is not None:
            return refusal
        found = store.call(request.query_params.get("call", "")) if store is not None else None
        if found is None:
            return PlainTextResponse("this call is not kept; dashboard.call_days says for how long calls are\n", 404)
        record, events = found
        try:
            return _page(await asyncio.to_thread(report_page, events, record))
        except (ValueError, zlib.error) as error:
            return PlainTextResponse(f"the events of this call cannot be read ({error})\n", 500)

    async def changes(self, request: Request) -> Response:
        """The newest changes as a file, the newest first, for admins."""
        if (refusal := self._refusal(request, "admin")) is not None:
            return refusal
        kept = self._feed.store.changes(MAX_SHOWN) if self._feed.store is not None else []
        return _file("".join(f"{change.to_json()}\n" for change in kept), "application/x-ndjson", "changes.ndjson")

    def _refusal(self, request: Request, needed: Role) -> Response | None:
        """Return the answer to a request whose role is not sufficient."""
        role = self._access.role_of(request.headers)
        if role is None:
            return self._token_form("")
        if not includes(role, needed):
            return PlainTextResponse(f"a {role} may not export this; enter with the token of a {needed}\n", 403)
        return None

    async def enter(self, request: Request) -> Response:
        """The posted token: a cookie and the way to the page, or the form again."""
        body = b""
        async for part in request.stream():
            body += part
            if len(body) > MAX_MESSAGE_LENGTH:
                return PlainTextResponse(f"request too long; at most {MAX_MESSAGE_LENGTH} bytes\n", 413)
        field, _, value = body.decode("utf-8", "replace").partition("=")
        role = self._access.role_of_token(unquote_plus(value)) if field == "token" else None
        if role is None:
            await self._refused.add(_address(request), "wrong token in the form")
            return self._token_form("Wrong token.")
        # without `http.cookies`, see `session_cookie`
        cookie = f"{COOKIE}={self._access.cookie_value(role)}; {_cookie_attributes(request, COOKIE_AGE_S)}"
        return RedirectResponse("./", 303, headers={"set-cookie": cookie})

    async def leave(self, request: Request) -> Response:
        """Take the cookie back, so that another token can be entered. Forms of other sites come without the cookie."""
        if not self._access.is_authorized(request.headers):
            return RedirectResponse("./", 303)
        return RedirectResponse("./", 303, headers={"set-cookie": f"{COOKIE}=; {_cookie_attributes(request, 0)}"})

    async def live(self, socket: WebSocket) -> None:
        """The WebSocket of one page."""
        headers, access = socket.headers, self._access
        role = access.role_of(headers)
        if role is None or not (access.is_allowed_host(headers) and access.is_allowed_origin(headers)):
            await self._refused.add(_address(socket), "a page of another site, or without the cookie")
            await socket.close(POLICY_VIOLATION)  # before it is accepted: the browser receives 403
            return
        await socket.accept()
        if self._open_pages >= MAX_PAGES:
            await socket.close(TRY_AGAIN_LATER, f"page limit reached ({MAX_PAGES}); close another page")
            return
        socket.state.slot.prove()
        self._open_pages += 1
        try:
            connection = PageConnection(
                socket, self._feed, role=role, signed_in=access.has_token, address=_address(socket)
            )
            await connection.run()
        finally:
            self._open_pages -= 1

    def _token_form(self, error: str) -> Response:
        return HTMLResponse(self._form.replace("<!-- error -->", error), 401)


def _address(connection: HTTPConnection) -> str:
    return connection.client.host if connection.client is not None else "unknown"


def _cookie_attributes(request: Request, age_s: int) -> str:
    secure = "https" in (request.scope["scheme"], request.headers.get("x-forwarded-proto", ""))
    path = request.scope.get("root_path") or "/"
    return f"Path={path}; Max-Age={age_s}; HttpOnly; SameSite=strict{'; Secure' if secure else ''}"


def _page(text: str) -> Response:
    """Return a page without scripts, whose style is in the page."""
    return HTMLResponse(text, headers={"content-security-policy": PAGE_POLICY})


def _file(text: str, media_type: str, name: str) -> Response:
    return Response(text, media_type=media_type, headers={"content-disposition": f'attachment; filename="{name}"'})
