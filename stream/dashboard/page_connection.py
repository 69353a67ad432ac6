"""The connection to one page: updates out, commands in.

A page receives a snapshot, then what changed, at most `UPDATE_RATE_HZ` times a second. Nothing is queued for it: the
next update is made when the page has taken the one before, so that a slow page receives fewer, newer states and delays
nothing else. A page that does not read for `SEND_TIMEOUT_S` is disconnected. A page sends the key of the card that it
shows (`{"watch": KEY}`), commands, and what a supervisor does with an alert (`{"alert": ID, "action": "acknowledge"}`).
Its role decides what it may change; every change, and every attempt at one, is in the log of changes.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from contextlib import suppress
from typing import Any

from starlette.websockets import WebSocket, WebSocketDisconnect

from stream import __version__
from stream.control.commands import CommandReply, request_id
from stream.dashboard.conditions import ConditionsMessage
from stream.dashboard.feed import Feed, PageCapabilities
from stream.dashboard.views import (
    AlertsMessage,
    DetailMessage,
    HelloMessage,
    IdleMessage,
    LevelMessage,
    ReplyMessage,
    View,
)
from stream.events import labels
from stream.server.leaky_bucket import LeakyBucket
from stream.server.roles import Role, includes, may_send
from stream.settings import AlertsSettings

UPDATE_RATE_HZ = 10.0
SEND_TIMEOUT_S = 20.0
CLOSE_TIMEOUT_S = 1.0
HEARTBEAT_S = 15.0
MAX_MESSAGE_LENGTH = 4_096
MAX_QUEUED_REPLIES = 16
MAX_MESSAGES, MESSAGES_PER_S = 100, 10.0
"""Messages that a page may send at once, and on average: people click less often."""

UNSUPPORTED_DATA, POLICY_VIOLATION, MESSAGE_TOO_BIG = 1003, 1008, 1009

LABELS = {
    "alerts": dict(labels.ALERT_LABELS),
    "reasons": dict(labels.REASON_LABELS),
    "speaker_states": dict(labels.SPEAKER_STATE_LABELS),
    "stream_states": dict(labels.STREAM_STATE_LABELS),
    "emotions": dict(labels.EMOTION_LABELS),
    "floor": dict(labels.FLOOR_LABELS),
    "outcomes": dict(labels.OUTCOME_LABELS),
}
"""Display names for the page; its scripts have none of their own."""

log = logging.getLogger(__name__)


class PageConnection:
    """One open page: the version that it has, the card that it shows, and its commands."""

    def __init__(
        self, socket: WebSocket, feed: Feed, *, role: Role = "admin", signed_in: bool = False, address: str = ""
    ) -> None:
        self._socket, self._feed = socket, feed
        self._role, self._signed_in, self._address = role, signed_in, address
        self._capabilities: PageCapabilities | None = None
        self._version = 0
        self._watched: str | None = None
        self._serial = 0
        self._alerts_version = -1
        self._alert_settings: AlertsSettings | None = None  # whose conditions the page has
        self._replies: asyncio.Queue[CommandReply] = asyncio.Queue(MAX_QUEUED_REPLIES)

    async def run(self) -> None:
        """Serve the page until either side closes."""
        tasks = [
            asyncio.create_task(self._send_updates(), name="dashboard updates"),
            asyncio.create_task(self._receive_messages(), name="dashboard commands"),
        ]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            for outcome in await asyncio.gather(*tasks, return_exceptions=True):
                if isinstance(outcome, Exception) and not isinstance(outcome, WebSocketDisconnect | TimeoutError):
                    log.warning("dashboard page disconnected: %s", type(outcome).__name__)
            with suppress(Exception):  # the page may have closed already
                await asyncio.wait_for(self._socket.close(), CLOSE_TIMEOUT_S)

    async def _send_updates(self) -> None:
        with self._feed.subscribe() as changed:
            while True:
                changed.clear()
                self._feed.expire()
                updated = await self._send_changes()
                await asyncio.sleep(1 / UPDATE_RATE_HZ)
                if updated or self._level() is not None:
                    continue
                try:
                    async with asyncio.timeout(HEARTBEAT_S):
                        await changed.wait()
                except TimeoutError:
                    await self._send(IdleMessage())

    async def _send_changes(self) -> bool:
        """Send capabilities, replies, the wall and the watched card as far as they changed; returns whether any did."""
        wall, updated = self._feed.wall, False
        if self._capabilities is not self._feed.capabilities:
            self._capabilities = self._feed.capabilities
            await self._send(hello(self._capabilities, role=self._role, signed_in=self._signed_in))
        if self._feed.alerts.version > self._alerts_version:
            store = self._feed.store
            changed, self._alerts_version = self._feed.alerts.since(self._alerts_version), self._feed.alerts.version
            await self._send(AlertsMessage(alerts=changed, history=store is not None and store.call_days > 0))
        await self._send_conditions()
        while not self._replies.empty():
            await self._send(ReplyMessage(reply=self._replies.get_nowait()))
        if wall.version > self._version or self._version == 0:
            message, self._version = wall.message(self._version), max(1, wall.version)
            await self._send_text(message)
            updated = True
        if (detail := self._detail()) is not None:
            await self._send(detail)
            updated = True
        return updated

    async def _send_conditions(self) -> None:
        """Send the conditions of alerts to those who may set them, if they are new or have changed."""
        alerts = self._feed.capabilities.alerts
        if alerts is None or not may_send(self._role, "set_alert") or alerts.settings is self._alert_settings:
            return
        self._alert_settings = alerts.settings
        await self._send(ConditionsMessage.of(alerts.settings))

    def _detail(self) -> DetailMessage | LevelMessage | None:
        """Return what changed in the watched card, or its input level alone."""
        card = self._feed.wall.card(self._watched) if self._watched is not None else None
        level = self._level()
        if card is None:
            return None
        if card.serial > self._serial or self._serial == 0:
            detail = dict(card.detail(self._serial))
            message = DetailMessage(whole=self._serial == 0, level=level, **detail)
            self._serial = max(1, card.serial)
            return message
        return LevelMessage(key=card.key, level=level) if level is not None else None

    def _level(self) -> dict[str, float] | None:
        card = self._feed.wall.card(self._watched) if self._watched is not None else None
        levels = self._feed.capabilities.levels
        if card is None or levels is None or card.ended:
            return None
        current = levels()
        return {source: round(current[source], 1) for source in card.sources if source in current} or None

    async def _receive_messages(self) -> None:
        messages = LeakyBucket(capacity=MAX_MESSAGES, per_s=MESSAGES_PER_S, clock=time.monotonic)
        while True:
            text = await self._receive_text()
            messages.add()
            if messages.overflows:
                await self._socket.close(POLICY_VIOLATION, f"too many messages; at most {MESSAGES_PER_S:g} per second")
                return
            if text is None:
                await self._socket.close(UNSUPPORTED_DATA, "message is binary; send JSON as text")
                return
            if len(text) > MAX_MESSAGE_LENGTH:
                await self._socket.close(MESSAGE_TOO_BIG, f"message too long; at most {MAX_MESSAGE_LENGTH} characters")
                return
            try:
                message = json.loads(text)
                watch = message.get("watch", "") if not {"command", "alert"} & set(message) else ""
            except (ValueError, RecursionError, AttributeError, TypeError):
                await self._socket.close(UNSUPPORTED_DATA, "message is not a JSON object")
                return
            if "command" in message:
                await self._execute(text, message)
            elif "alert" in message:
                await self._act(text, message)
            elif watch is None or isinstance(watch, str):
                self._watched, self._serial = watch, 0
                self._feed.notify()

    async def _receive_text(self) -> str | None:
        """Return the next message, None for a binary one. Raises `WebSocketDisconnect` when the page has closed."""
        message = await self._socket.receive()
        if message["type"] == "websocket.disconnect":
            raise WebSocketDisconnect(message.get("code", 1006))
        text: str | None = message.get("text")
        return text

    async def _execute(self, text: str, message: dict[str, Any]) -> None:
        """Carry out one command; the next one is read afterwards."""
        execute, name = self._feed.capabilities.execute, str(message["command"])
        if execute is None:
            reply = CommandReply(id=request_id(text), ok=False, error="this dashboard is read-only")
        elif not may_send(self._role, name):
            reply = CommandReply(id=request_id(text), ok=False, error=self._why_not(f"send {name[:64]!r}"))
        else:
            reply = await execute(text)
        await self._reply(reply, name, message)

    async def _act(self, text: str, message: dict[str, Any]) -> None:
        """Do what a supervisor does with an alert."""
        action: Any = message.get("action")
        if includes(self._role, "supervisor"):
            error = self._feed.alerts.act(str(message["alert"]), action, message.get("value"))
        else:
            error = self._why_not("change alerts")
        await self._reply(CommandReply(id=request_id(text), ok=not error, error=error or None), str(action), message)

    async def _reply(self, reply: CommandReply, action: str, message: dict[str, Any]) -> None:
        self._feed.changes.add(
            role=self._role, address=self._address, action=action[:64], fields=message, error=reply.error or ""
        )
        await self._replies.put(reply)
        self._feed.notify()

    def _why_not(self, what: str) -> str:
        return f"a {self._role} may not {what}; sign out and enter with the token of a more powerful role"

    async def _send(self, message: View) -> None:
        await self._send_text(message.to_json())

    async def _send_text(self, text: str) -> None:
        async with asyncio.timeout(SEND_TIMEOUT_S):
            await self._socket.send_text(text)


def hello(capabilities: PageCapabilities, *, role: Role = "admin", signed_in: bool = False) -> HelloMessage:
    """Return the first message of a connection, repeated when the capabilities change."""
    commands = capabilities.commands if capabilities.execute is not None else ()
    about = dict(capabilities.about)
    if not includes(role, "admin"):
        about.pop("settings", None)
    return HelloMessage(
        now_ms=round(time.time() * 1000),
        role=role,
        signed_in=signed_in,
        version=__version__,
        commands=tuple(name for name in commands if may_send(role, name)),
        microphone=capabilities.microphone if includes(role, "supervisor") else None,
        levels=capabilities.levels is not None,
        labels=LABELS,
        about=about,
        doors=capabilities.doors,
        doors_need_token=capabilities.doors_need_token,
    )
