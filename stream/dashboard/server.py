"""The ASGI app: the page's files and one WebSocket a page. It can be mounted anywhere; all its links are relative.

A page is told a snapshot, then what changed, at most `RATE_HZ` times a second. Nothing is queued for it: what it is
told is made when it has taken what came before, so that a slow page sees fewer, newer states and never holds anybody
up. One that takes nothing for `SEND_S` is let go. What a page sends is either what it looks at or a command.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import unquote_plus

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketDisconnect

from stream import __version__
from stream.dashboard.feed import Feed, PageCapabilities
from stream.server.access import COOKIE, AccessPolicy

STATIC = Path(__file__).parent / "static"
RATE_HZ = 10.0
SEND_S = 20.0
MOST_PAGES = 64
LARGEST_MESSAGE = 4_096
IDLE_S = 15.0
"""After this long without news a page is told that it is still connected."""

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
"""Sent with every answer: nothing but our own files is loaded, run, framed or sent to."""

TRY_AGAIN, TOO_MANY, POLICY, TOO_BIG, MALFORMED = 1012, 1013, 1008, 1009, 1003

log = logging.getLogger(__name__)


def create_app(*, feed: Feed, door: AccessPolicy) -> Starlette:
    """The page of one feed."""
    pages = _Pages(feed, door)
    routes = [
        Route("/", pages.index),
        Route("/enter", pages.enter, methods=["POST"]),
        WebSocketRoute("/live", pages.live),
        Mount("/static", StaticFiles(directory=STATIC)),
    ]
    app = Starlette(routes=routes)
    app.add_middleware(_Guard, door=door)
    return app


class _Guard:
    """Refuses strange hosts and, but for the files of the page, those without a pass; adds the headers."""

    def __init__(self, app: ASGIApp, door: AccessPolicy) -> None:
        self._app, self._door = app, door

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await self._http(scope, receive, send)
        else:
            await self._app(scope, receive, send)  # a WebSocket is judged where it is answered

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                sent = {name.lower() for name, _ in message["headers"]}
                extra = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
                message["headers"] = [*message["headers"], *(pair for pair in extra if pair[0] not in sent)]
            await send(message)

        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        app: ASGIApp = self._app
        if not self._door.knows_host(headers):
            app = PlainTextResponse("this page is only known as 127.0.0.1 or localhost\n", 421)
        await app(scope, receive, guarded)


class _Pages:
    """What the routes answer."""

    def __init__(self, feed: Feed, door: AccessPolicy) -> None:
        self._feed, self._door = feed, door
        self._open = 0

    async def index(self, request: Request) -> Response:
        if not self._door.admits(request.headers):
            return self._ask("")
        return FileResponse(STATIC / "index.html", media_type="text/html")

    async def enter(self, request: Request) -> Response:
        body = b""
        async for part in request.stream():
            body += part
            if len(body) > LARGEST_MESSAGE:
                return PlainTextResponse("too long\n", 413)
        field, _, value = body.decode("utf-8", "replace").partition("=")
        return self._let_in(request, unquote_plus(value) if field == "token" else "")

    async def live(self, page: WebSocket) -> None:
        headers = page.headers
        door = self._door
        if not (door.knows_host(headers) and door.is_ours(headers) and door.admits(headers)):
            await page.close(POLICY)  # before it is accepted: the browser sees 403
            return
        await page.accept()
        if self._open >= MOST_PAGES:
            await page.close(TOO_MANY, f"{MOST_PAGES} pages are open; close one")
            return
        self._open += 1
        try:
            await _Page(page, self._feed).converse()
        finally:
            self._open -= 1

    def _let_in(self, request: Request, token: str) -> Response:
        """A pass for whoever knows the token, and the way back to an address without it."""
        if not self._door.is_token(token):
            return self._ask("That is not the token.")
        answer = RedirectResponse("./", 303)
        answer.set_cookie(
            COOKIE,
            self._door.pass_value,
            httponly=True,
            samesite="strict",
            max_age=30 * 86_400,
            secure=request.url.scheme == "https",
            path=request.scope.get("root_path") or "/",
        )
        return answer

    def _ask(self, complaint: str) -> Response:
        form = (STATIC / "enter.html").read_text(encoding="utf-8").replace("<!-- complaint -->", complaint)
        return HTMLResponse(form, 401)


class _Page:
    """One open page: what it knows, what it looks at, and what it asks for."""

    def __init__(self, socket: WebSocket, feed: Feed) -> None:
        self._socket, self._feed = socket, feed
        self._powers: PageCapabilities | None = None
        self._version = 0
        self._watched: str | None = None
        self._serial = 0
        self._replies: asyncio.Queue[str] = asyncio.Queue(16)

    async def converse(self) -> None:
        """Until either side goes."""
        tasks = [asyncio.create_task(self._tell(), name="page"), asyncio.create_task(self._hear(), name="page asks")]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            for outcome in await asyncio.gather(*tasks, return_exceptions=True):
                if isinstance(outcome, Exception) and not isinstance(outcome, WebSocketDisconnect | TimeoutError):
                    log.warning("a page was let go: %s", type(outcome).__name__)
            with suppress(Exception):  # it may be gone already
                await asyncio.wait_for(self._socket.close(), 1.0)

    async def _tell(self) -> None:
        with self._feed.watched() as news:
            while True:
                news.clear()
                told = await self._tell_news()
                await asyncio.sleep(1 / RATE_HZ)
                if told or self._level() is not None:
                    continue
                try:
                    async with asyncio.timeout(IDLE_S):
                        await news.wait()
                except TimeoutError:
                    await self._send('{"t":"idle"}')

    async def _tell_news(self) -> bool:
        """Replies, the wall, and the stream that is looked at, as far as they are new."""
        wall, told = self._feed.wall, False
        if self._powers is not self._feed.powers:
            self._powers = self._feed.powers
            await self._send(json.dumps(_hello(self._powers)))
        while not self._replies.empty():
            await self._send(self._replies.get_nowait())
        if wall.version > self._version or self._version == 0:
            message, self._version = wall.message(self._version), max(1, wall.version)
            await self._send(message)
            told = True
        if (detail := self._detail()) is not None:
            await self._send(json.dumps(detail, separators=(",", ":")))
            told = True
        return told

    def _detail(self) -> dict[str, Any] | None:
        """What changed in the stream that is looked at, and how loud it is."""
        card = self._feed.wall.card(self._watched) if self._watched is not None else None
        level = self._level()
        if card is None:
            return None
        if card.serial > self._serial or self._serial == 0:
            found = {"t": "detail", "whole": self._serial == 0, "level": level, **card.detail(self._serial)}
            self._serial = max(1, card.serial)
            return found
        return {"t": "level", "key": card.key, "level": level} if level is not None else None

    def _level(self) -> dict[str, float] | None:
        card = self._feed.wall.card(self._watched) if self._watched is not None else None
        levels = self._feed.powers.levels
        if card is None or levels is None or card.ended:
            return None
        now = levels()
        return {source: round(now[source], 1) for source in card.sources if source in now} or None

    async def _hear(self) -> None:
        while True:
            text = await self._socket.receive_text()
            if len(text) > LARGEST_MESSAGE:
                await self._socket.close(TOO_BIG, f"a message holds {LARGEST_MESSAGE} characters at most")
                return
            try:
                asked = json.loads(text)
                watch = asked.get("watch", "") if "command" not in asked else ""
            except (ValueError, RecursionError, AttributeError, TypeError):
                await self._socket.close(MALFORMED, "a message is one JSON object")
                return
            if "command" in asked:
                await self._ask_for(text)
            elif watch is None or isinstance(watch, str):
                self._watched, self._serial = watch, 0
                self._feed.wake()

    async def _ask_for(self, text: str) -> None:
        answer: Callable[[str], Awaitable[str]] | None = self._feed.powers.answer
        reply = (
            '{"ok":false,"error":"this page can only watch"}' if answer is None else await answer(text)
        )  # one command at a time: the next one is read when this is done
        await self._replies.put('{"t":"reply","reply":' + reply + "}")
        self._feed.wake()

    async def _send(self, text: str) -> None:
        async with asyncio.timeout(SEND_S):
            await self._socket.send_text(text)


def _hello(powers: PageCapabilities) -> dict[str, Any]:
    """What a page is told first, and again when a run begins that can do more or less."""
    return {
        "t": "hello",
        "now_ms": round(time.time() * 1000),
        "version": __version__,
        "commands": powers.commands if powers.answer is not None else (),
        "microphone": powers.microphone,
        "levels": powers.levels is not None,
        "about": dict(powers.about),
    }
