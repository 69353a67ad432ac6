"""Speaker events of the other nodes at the broker, for room arbitration.

A node that arbitrates subscribes to `PREFIX/+/+/speaker`. What the broker kept (retained) is older than the speech that
it tells of, and is left out; so are the node's own events, which come back.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable

from stream.events import Event, SpeakerEvent, read_event
from stream.sinks.mqtt.connection import IncomingMessage
from stream.sinks.mqtt.topics import name_of_level

Observe = Callable[[str, Event], None]
"""Takes an event and the name of its node."""

log = logging.getLogger(__name__)


class Neighbours:
    """The other nodes of a prefix; without a function to call there is nothing to subscribe to."""

    def __init__(self, *, prefix: str, node: str) -> None:
        self._prefix, self._node = f"{prefix}/", node
        self._observe: Observe | None = None
        self._has_warned = False

    @property
    def topic(self) -> str:
        """The topic to subscribe to; empty for none."""
        return f"{self._prefix}+/+/speaker" if self._observe is not None else ""

    def attach(self, observe: Observe) -> None:
        """Set the function that takes their events."""
        self._observe = observe

    def receive(self, message: IncomingMessage) -> bool:
        """Take a message if it is one of theirs; returns whether it is."""
        topic = str(message.topic)
        levels = topic.removeprefix(self._prefix).split("/")
        if self._observe is None or not topic.startswith(self._prefix) or len(levels) != 3 or levels[2] != "speaker":  # noqa: PLR2004
            return False
        node = name_of_level(levels[0])
        if node == self._node or message.retain or not isinstance(message.payload, bytes):
            return True
        try:
            event = read_event(_native(message.payload))
        except ValueError as error:
            if not self._has_warned:
                self._has_warned = True
                log.warning("ignored a message on %s: %s", topic, error)
            return True
        if isinstance(event, SpeakerEvent) and event.source == name_of_level(levels[1]):
            self._observe(node, event)
        return True


def _native(payload: bytes) -> bytes:
    """Return the event, also of a CloudEvents object. Raises `ValueError`."""
    if not payload.startswith(b'{"specversion"'):
        return payload
    try:
        return json.dumps(json.loads(payload)["data"]).encode()
    except (ValueError, KeyError, TypeError, RecursionError):
        raise ValueError("not a tonewatch event") from None
