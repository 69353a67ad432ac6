"""The dashboard without models: a reader of the topics of any number of nodes, which never publishes.

It takes what `docs/mqtt.md` lists below the prefix: events, and `availability` and `info` of nodes. Payloads are not
trusted: what is too long or no event of the contract is counted and skipped. A lost connection is made again after a
pause that doubles.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
import secrets
import ssl
from typing import Any

from stream.dashboard.feed import Feed
from stream.dashboard.wall import MAX_NODES
from stream.events import EVENT_TYPE_NAMES, MAX_EVENT_BYTES, read_event
from stream.settings import Settings
from stream.sinks.mqtt import topics
from stream.sinks.mqtt.connection import BrokerConnection, BrokerError
from stream.sinks.mqtt.credentials import read_password, tls_context
from stream.sinks.mqtt.tasks import cancel_and_wait, reason_of

FIRST_BACKOFF_S, MAX_BACKOFF_S = 0.5, 2.0
"""People look at the page: a broker that is back is to be seen soon, however long `mqtt.reconnect_max_s` is."""

MAX_VERSION_LENGTH = 32

CANCEL_RETRY_S = 1.0
"""Time after which the cancellation of the reader is repeated."""

MAX_QUEUED_MESSAGES = 10_000
"""Messages from the broker that wait to be read; after a subscription all retained ones arrive at once."""

log = logging.getLogger(__name__)


class MqttFeed:
    """Feeds a dashboard from `mqtt://[user@]host[:port]/prefix`. Raises `SettingsError` for an invalid address."""

    def __init__(self, *, target: str, settings: Settings, feed: Feed) -> None:
        self._address = topics.parse_address(target, settings.mqtt)
        self._settings = settings.mqtt
        self._feed = feed
        self.rejected = 0
        """Messages that were no events."""
        self._full = False
        self._stopping = asyncio.Event()

    def stop(self) -> None:
        """Stop reading; `run` returns."""
        self._stopping.set()

    async def run(self) -> None:
        """Read until stopped. Raises `SettingsError` for unusable certificates or an unusable password file."""
        tls = tls_context(self._settings) if self._address.tls else None
        password = read_password(self._settings)
        reader = asyncio.create_task(self._read(tls, password), name="mqtt reader")
        stopping = asyncio.create_task(self._stopping.wait(), name="mqtt stop")
        try:
            await asyncio.wait((reader, stopping), return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopping.cancel()
            await cancel_and_wait(reader, retry_s=CANCEL_RETRY_S)
        if not reader.cancelled():
            reader.result()

    async def _read(self, tls: ssl.SSLContext | None, password: str) -> None:
        """Connect, subscribe and read, again after every loss."""
        backoff_s, warned = FIRST_BACKOFF_S, False
        while True:
            what = "cannot connect"
            try:
                async with self._connection(tls, password) as connection:
                    topic = f"{self._address.prefix}/#"
                    if refusal := await connection.subscribe_to(topic, qos=min(1, self._settings.qos)):
                        raise BrokerError(f"subscription to {topic!r} refused: {refusal}")  # noqa: TRY301 - as any loss
                    if warned:
                        log.warning("%s:%s: connected again", self._address.host, self._address.port)
                    backoff_s, warned, what = FIRST_BACKOFF_S, False, "connection lost"
                    self._feed.set_broker(name=self._address.host, connected=True)
                    async for message in connection.messages:
                        self.take(str(message.topic), message.payload, retained=message.retain)
            except (BrokerError, OSError) as error:
                why = reason_of(error)
                self._feed.set_broker(name=self._address.host, connected=False, error=why)
                if not warned:
                    log.warning("%s:%s: %s (%s); retrying", self._address.host, self._address.port, what, why)
                    warned = True
            await asyncio.sleep(backoff_s * random.uniform(0.5, 1.0))  # noqa: S311 - spreads reconnecting dashboards
            backoff_s = min(2 * backoff_s, self._settings.reconnect_max_s, MAX_BACKOFF_S)

    def take(self, topic: str, payload: Any, *, retained: bool = False) -> None:
        """Apply one message of the broker."""
        levels = topic.removeprefix(f"{self._address.prefix}/").split("/")
        data = payload if isinstance(payload, bytes) else str(payload).encode()
        if not data:  # a retained message was cleared
            return
        try:
            if len(data) > MAX_EVENT_BYTES:
                raise ValueError  # noqa: TRY301 - rejected like other invalid messages
            self._apply(levels, data, retained=retained)
        except (ValueError, AttributeError, RecursionError):
            self.rejected += 1
            if self.rejected == 1:
                log.warning("%s: not a tonewatch event; such messages are ignored", topic[:200])
        if self._feed.wall.ignored_events and not self._full:
            self._full = True
            log.warning(
                "the dashboard shows at most %d nodes; ignoring %s and further ones", MAX_NODES, levels[0][:200]
            )

    def _apply(self, levels: list[str], data: bytes, *, retained: bool) -> None:
        """Apply a payload by the levels of its topic below the prefix. Raises what invalid JSON and events raise."""
        node = levels[0]
        if levels[1:] == ["availability"]:
            self._feed.update_node(node, online=data == b"online")
        elif levels[1:] == ["info"]:
            self._feed.update_node(node, version=str(json.loads(data).get("version", ""))[:MAX_VERSION_LENGTH])
        elif levels[-1] in EVENT_TYPE_NAMES and len(levels) in (2, 3):
            self._feed.apply(read_event(data), node=node, retained=retained)

    def _connection(self, tls: ssl.SSLContext | None, password: str) -> BrokerConnection:
        return BrokerConnection(
            address=self._address,
            settings=self._settings,
            identifier=f"dashboard-{secrets.token_hex(6)}",  # not `mqtt.client_id`, which belongs to the node's sink
            tls=tls,
            password=password,
            max_incoming=MAX_QUEUED_MESSAGES,
        )
