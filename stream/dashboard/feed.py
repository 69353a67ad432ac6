"""Between what feeds the wall and the pages that watch it: one `Feed`, used by one event loop.

Whoever feeds never waits: an event changes the wall, and pages that wait are woken. A page that is slow is told less
often, never more at once than there is; nothing is queued for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from stream.dashboard.wall import Wall

Levels = Callable[[], Mapping[str, float]]
"""How loud each source is now, in dBFS."""

Answer = Callable[[str], Awaitable[str]]
"""A command as JSON in, its reply as JSON out."""


@dataclass(frozen=True, slots=True)
class PageCapabilities:
    """What pages can do beside watching.

    `commands` are names of commands; `microphone` is the path of the socket that takes a browser's sound; `about` is
    shown under settings and health.
    """

    commands: tuple[str, ...] = ()
    answer: Answer | None = None
    levels: Levels | None = None
    microphone: str | None = None
    about: Mapping[str, Any] = field(default_factory=dict)


class Feed:
    """The wall, and what wakes those who watch it."""

    def __init__(self) -> None:
        self.wall = Wall()
        self.powers = PageCapabilities()
        self._watchers: set[asyncio.Event] = set()

    def apply(self, event: Mapping[str, Any], *, node: str) -> None:
        """Take an event in and wake whoever waits for one."""
        self.wall.apply(event, node=node)
        self.wake()

    def tell_of(self, node: str, **what: Any) -> None:
        """Something about a node."""
        self.wall.tell_of(node, **what)
        self.wake()

    def wake(self) -> None:
        """Let everybody look."""
        for watcher in self._watchers:
            watcher.set()

    @contextmanager
    def watched(self) -> Iterator[asyncio.Event]:
        """An event of one's own that is set at every change; whoever waits for it clears it first."""
        watcher = asyncio.Event()
        self._watchers.add(watcher)
        try:
            yield watcher
        finally:
            self._watchers.discard(watcher)
