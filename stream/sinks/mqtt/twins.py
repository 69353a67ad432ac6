"""Two nodes of one name: noticed, reported, and kept from ending each other.

A node subscribes to its own information and availability. Information that another process publishes under its name,
while this one runs, is a second node: both obey each command, and their states overwrite one another. Each tells, and
publishes its information again, so that the other one tells, too. When one of them stops, it publishes `offline` for
both, or the broker does; the other one then publishes `online` again.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from typing import Any

from stream.clock import steady_s
from stream.sinks.mqtt.connection import BrokerConnection, IncomingMessage

TELL_AGAIN_S = 60.0
AGAIN_S = 1.0

log = logging.getLogger(__name__)


class TwinWatch:
    """Watches the information and availability of the node `name`, whose topics are those that `topic` returns.

    `info` is what this process publishes as its information.
    """

    def __init__(
        self, *, name: str, topic: Callable[[str], str], info: str, qos: int, clock: Callable[[], float] = steady_s
    ) -> None:
        self._name = name
        self._info = info
        self._info_topic, self._availability_topic = topic("info"), topic("availability")
        self._qos = qos
        self._clock = clock
        self._session = json.loads(info)["session"]
        self._told_s = self._online_s = self._corrected_s = float("-inf")

    @property
    def topics(self) -> tuple[str, ...]:
        """Topics to subscribe to."""
        return self._info_topic, self._availability_topic

    def observe(self, connection: BrokerConnection, message: IncomingMessage) -> None:
        """Take a message on one of the topics. Raises `BrokerError`."""
        if message.retain:  # what an earlier life of this node may have left
            return
        now_s = self._clock()
        if str(message.topic) == self._info_topic:
            self._observe_info(connection, _parse(message.payload), now_s)
        elif message.payload == b"offline" and now_s - self._online_s >= AGAIN_S:
            self._online_s = now_s
            self._publish(connection, self._availability_topic, "online")

    def _observe_info(self, connection: BrokerConnection, info: dict[str, Any], now_s: float) -> None:
        session = info.get("session")
        if info.get("stopped"):
            if now_s - self._corrected_s >= AGAIN_S:  # this node runs
                self._corrected_s = now_s
                self._publish(connection, self._info_topic, self._info)
        elif isinstance(session, str) and session not in ("", self._session) and now_s - self._told_s >= TELL_AGAIN_S:
            self._told_s = now_s
            log.warning(
                "another node named %r uses this broker: both obey each command, and their states overwrite one "
                "another; give each a name of its own (setting node)",
                self._name,
            )
            self._publish(connection, self._info_topic, self._info)

    def _publish(self, connection: BrokerConnection, topic: str, payload: str) -> None:
        connection.post(topic, payload, qos=self._qos, retain=True)


def _parse(payload: object) -> dict[str, Any]:
    """Return information, empty if it is none."""
    try:
        info = json.loads(payload) if isinstance(payload, bytes | str) else None
    except (ValueError, RecursionError):
        return {}
    return info if isinstance(info, dict) else {}
