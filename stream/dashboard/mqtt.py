"""The same page without models: a broker's topics are read, and nothing is ever published.

Everything below the prefix is taken that `docs/mqtt.md` lists: events as they are, availability and info as what is
known of a node. Payloads come from outside: what is too long, no event of the contract, or about another topic than its
own is counted and passed over. A broker that goes away is asked again, with a pause that doubles.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
import ssl
from typing import Any

import aiomqtt

from stream.dashboard.feed import Feed
from stream.errors import SettingsError
from stream.events import EVENT_TYPE_NAMES, MAX_EVENT_BYTES, read_event
from stream.settings import Settings
from stream.sinks.mqtt import topics

FIRST_PAUSE_S = 0.5

log = logging.getLogger(__name__)


class MqttFeed:
    """Feeds a page from `mqtt://[user@]host[:port]/prefix`."""

    def __init__(self, *, target: str, settings: Settings, feed: Feed) -> None:
        self._broker = topics.parse(target, settings.mqtt)
        self._settings = settings.mqtt
        self._feed = feed
        self.refused = 0
        """Messages that were no events."""
        self._reading: asyncio.Task[None] | None = None

    def stop(self) -> None:
        """Read no more."""
        if self._reading is not None:
            self._reading.cancel()

    async def run(self) -> None:
        """Read until stopped. Raises `SettingsError` when the certificates cannot be used."""
        self._reading = asyncio.create_task(self._read(self._tls()), name="mqtt reader")
        await asyncio.wait((self._reading,))
        if not self._reading.cancelled():
            self._reading.result()

    async def _read(self, tls: ssl.SSLContext | None) -> None:
        pause_s, warned = FIRST_PAUSE_S, False
        while True:
            try:
                async with self._client(tls) as client:
                    pause_s, warned = FIRST_PAUSE_S, False
                    await client.subscribe(f"{self._broker.prefix}/#", qos=min(1, self._settings.qos))
                    async for message in client.messages:
                        self.take(str(message.topic), message.payload)
            except (aiomqtt.MqttError, OSError) as lost:
                if not warned:
                    where = f"{self._broker.host}:{self._broker.port}"
                    log.warning("the MQTT broker at %s does not answer (%s); trying again until it does", where, lost)
                    warned = True
            await asyncio.sleep(pause_s * random.uniform(0.5, 1.0))  # noqa: S311 - many pages must not knock at once
            pause_s = min(2 * pause_s, self._settings.reconnect_max_s)

    def take(self, topic: str, payload: Any) -> None:
        """One message of the broker."""
        levels = topic.removeprefix(f"{self._broker.prefix}/").split("/")
        text = payload if isinstance(payload, bytes) else str(payload).encode()
        if not text:  # a retained message that was cleared
            return
        try:
            if len(text) > MAX_EVENT_BYTES:
                raise ValueError  # noqa: TRY301 - refused like the rest
            if levels[1:] == ["availability"]:
                self._feed.tell_of(levels[0], online=text == b"online")
            elif levels[1:] == ["info"]:
                self._feed.tell_of(levels[0], version=str(json.loads(text).get("version", ""))[:32])
            elif levels[-1] in EVENT_TYPE_NAMES and len(levels) in (2, 3):
                self._feed.apply(read_event(text).model_dump(mode="json", by_alias=True), node=levels[0])
        except (ValueError, AttributeError, RecursionError):
            self.refused += 1
            if self.refused == 1:
                log.warning("something on %s is no event of ours; such messages are passed over", topic[:200])

    def _client(self, tls: ssl.SSLContext | None) -> aiomqtt.Client:
        password = self._settings.password.get_secret_value()
        return aiomqtt.Client(
            self._broker.host,
            self._broker.port,
            username=self._broker.username or None,
            password=password or None,
            protocol=aiomqtt.ProtocolVersion.V5,
            keepalive=self._settings.keepalive_s,
            tls_context=tls,
        )

    def _tls(self) -> ssl.SSLContext | None:
        if not self._broker.tls:
            return None
        try:
            return ssl.create_default_context(cafile=self._settings.ca_file or None)
        except (OSError, ssl.SSLError) as error:
            raise SettingsError(f"mqtt.ca_file: {self._settings.ca_file} cannot be used: {error}") from None
