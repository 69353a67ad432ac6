"""The wall and the pages that show it: one `Feed`, used by one event loop.

A producer of events never waits: an event changes the wall and wakes the waiting pages. A slow page receives updates
less often; nothing is queued for it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from stream.calls.current_alerts import CurrentAlerts
from stream.control.commands import CommandReply
from stream.dashboard.alert_book import AlertBook
from stream.dashboard.alert_store import AlertStore
from stream.dashboard.card import Card
from stream.dashboard.changes import ChangeLog
from stream.dashboard.wall import Wall
from stream.events import AlertEvent, CallEvent, Event, StreamEvent
from stream.server.doors import Door

Levels = Callable[[], Mapping[str, float]]
"""Returns the input level of each source, in dBFS."""

Execute = Callable[[str], Awaitable[CommandReply]]
"""Carries out a command given as JSON."""


@dataclass(frozen=True, slots=True)
class PageCapabilities:
    """What pages can do beside showing the wall.

    `commands` are names of commands; `microphone` is the path of the WebSocket that takes the audio of a browser;
    `about` is shown under settings and health; `doors`, where calls arrive, while there are none. Without `execute`
    pages are read-only.
    """

    commands: tuple[str, ...] = ()
    execute: Execute | None = None
    levels: Levels | None = None
    alerts: CurrentAlerts | None = None  # whose conditions supervisors may set
    microphone: str | None = None
    about: Mapping[str, Any] = field(default_factory=dict)
    doors: tuple[Door, ...] = ()
    doors_need_token: bool = False


class Feed:
    """The wall, the capabilities of its pages, and their wake-up."""

    def __init__(self) -> None:
        self.wall = Wall()
        self.alerts = AlertBook(clock=time.time)
        self.changes = ChangeLog()
        self.store: AlertStore | None = None
        self.capabilities = PageCapabilities()
        self._subscribers: set[asyncio.Event] = set()

    def apply(self, event: Event, *, node: str, retained: bool = False) -> None:
        """Apply one event of a node and wake the pages; `retained` marks a broker's memory of an earlier time."""
        key = f"{node}/{event.call or event.source}"
        self.wall.apply(event, node=node, retained=retained)
        card = self.wall.card(key)
        if card is not None and isinstance(event, AlertEvent) and not retained:
            self.alerts.apply(event, node=node, name=card.name, about=card.about)
        if card is not None and card.ended and isinstance(event, StreamEvent | CallEvent) and not retained:
            self._keep(card)
        self.notify()

    def _keep(self, card: Card) -> None:
        """Keep an ended call, if calls are kept; its last events, track by track, replace what was kept."""
        if self.store is not None and self.store.call_days:
            record = card.record()
            self.store.put_call(record, events=card.recording)
            card.set_report(record.id)

    def update_node(self, node: str, *, online: bool | None = None, version: str | None = None) -> None:
        """Set whether a node is online, and its version, and wake the pages."""
        self.wall.update_node(node, online=online, version=version)
        self.notify()

    def attach(self, store: AlertStore) -> None:
        """Keep alerts, changes, and ended calls in a store."""
        self.store = store
        self.wall.records = store.call_days > 0
        self.alerts.attach(store)
        self.changes.attach(store.put_change)

    def set_broker(self, *, name: str, connected: bool, error: str = "") -> None:
        """Set whether the broker that the events come from is connected, and wake the pages."""
        self.wall.set_broker(name=name, connected=connected, error=error)
        self.notify()

    def expire(self) -> None:
        """End cards of nodes that were cut off, and remove those that have expired."""
        abandoned = self.wall.end_abandoned()
        for card in abandoned:
            self._keep(card)
        if self.wall.expire() or abandoned:
            self.notify()

    def set_capabilities(self, capabilities: PageCapabilities) -> None:
        """Replace what pages can do, and wake them."""
        self.capabilities = capabilities
        self.notify()

    def notify(self) -> None:
        """Wake all subscribers."""
        for changed in self._subscribers:
            changed.set()

    @contextmanager
    def subscribe(self) -> Iterator[asyncio.Event]:
        """Give an event that is set at every change; the subscriber clears it before it reads the wall."""
        changed = asyncio.Event()
        self._subscribers.add(changed)
        try:
            yield changed
        finally:
            self._subscribers.discard(changed)
