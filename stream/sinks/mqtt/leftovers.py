"""What an earlier run, perhaps a killed one, left retained at the broker: found by the list on disk, and taken back."""

from __future__ import annotations

from collections.abc import Callable

from stream.sinks.outbox.journal import Journal
from stream.sinks.outbox.messages import Outbox

DEVICE_GRACE_S = 60.0
"""Time after the start until a device that an earlier run announced is removed, if its stream has not returned."""


async def record_topics(outbox: Outbox, journal: Journal) -> None:
    """List the topics of new state on disk, before it is published."""
    while topics := outbox.unrecorded():
        await journal.remember_retained(topics)
        outbox.mark_recorded(topics)


class Leftovers:
    """Clears the retained messages of earlier runs: state at once, devices when their streams do not return."""

    def __init__(self, *, outbox: Outbox, own_topics: str, clock: Callable[[], float]) -> None:
        self._outbox = outbox
        self._own_topics = own_topics
        self._clock = clock
        self._devices: set[str] = set()
        self._deadline_s = 0.0

    def take_back(self, topics: frozenset[str], *, devices_return: bool) -> None:
        """Clear these topics; those of devices, which are not below `own_topics`, later if they may return."""
        self._outbox.restore_published(topics)
        self._devices = {topic for topic in topics if devices_return and not topic.startswith(self._own_topics)}
        self._deadline_s = self._clock() + DEVICE_GRACE_S
        for topic in topics - self._devices:
            self._outbox.clear(topic)

    def returned(self, topic: str) -> None:
        """Keep a device that is announced again."""
        self._devices.discard(topic)

    def poll(self) -> bool:
        """Clear the devices that have not returned in time; returns whether there were any."""
        if not self._devices or self._clock() < self._deadline_s:
            return False
        self.clear()
        return True

    def clear(self) -> None:
        """Clear the devices that have not returned."""
        for topic in self._devices:
            self._outbox.clear(topic)
        self._devices.clear()
