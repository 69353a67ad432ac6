"""A sink that collects the events of a run in memory."""

from __future__ import annotations

from collections.abc import Callable

from stream.events import NODE, Event
from stream.sinks.base import ObserverSink


def _ignore(event: Event) -> None:
    """Do nothing with an event."""


class EventCollector(ObserverSink):
    """Keeps every event in order, and passes each to `on_event` as it arrives."""

    def __init__(self, *, on_event: Callable[[Event], None] = _ignore) -> None:
        self.events: list[Event] = []
        self._on_event = on_event

    async def send(self, event: Event) -> None:
        """Store an event and report it."""
        self.events.append(event)
        self._on_event(event)

    def by_source(self) -> dict[str, list[Event]]:
        """Return the events of each source, without those of the node."""
        groups: dict[str, list[Event]] = {}
        for event in self.events:
            if event.source != NODE:
                groups.setdefault(event.source, []).append(event)
        return groups
