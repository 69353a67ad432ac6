"""A sink that shows events on a page. `send` changes the wall and returns at once, whoever looks on."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from stream.dashboard.feed import Feed
from stream.events import Event


class DashboardSink:
    """Feeds `feed` with the events of the node called `node`."""

    def __init__(self, *, feed: Feed, node: str) -> None:
        self._feed, self._node = feed, node

    async def __aenter__(self) -> Self:
        """Show the node."""
        self._feed.tell_of(self._node, online=True)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing is left to do: the wall holds what was told."""

    async def send(self, event: Event) -> None:
        """Show one event."""
        self._feed.apply(event.model_dump(mode="json", by_alias=True), node=self._node)
