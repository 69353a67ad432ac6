"""The sink of the dashboard: applies events to the wall, and never waits for a page."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from stream.dashboard.feed import Feed
from stream.events import Event


class DashboardSink:
    """Applies the events of one node to a feed."""

    def __init__(self, *, feed: Feed, node: str) -> None:
        self._feed, self._node = feed, node

    async def __aenter__(self) -> Self:
        """Show the node as online."""
        self._feed.update_node(self._node, online=True)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing to close: the wall keeps its cards."""

    async def send(self, event: Event) -> None:
        """Apply one event."""
        self._feed.apply(event, node=self._node)
