"""Events to an MQTT broker: the only file that knows aiomqtt.

`send` never waits for the broker; it puts the event into the `Outbox`, and a task publishes from there with up to
`IN_FLIGHT` messages unacknowledged. Ordered messages leave the outbox when the broker has acknowledged them (QoS 1 and
2). A connection that breaks is followed by a new one, after a pause that doubles up to `reconnect_max_s`, and always
with a fresh `Client`: paho keeps what was in flight and would send it again behind our back.

The broker knows us as `online` (retained) from the moment we connect; `offline` is our will, and is also published
before a clean exit, since a clean exit does not fire the will. A broker that is away never stops the run: it costs one
warning, and what could not be delivered is said at the end.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
import socket
import ssl
from contextlib import suppress
from types import TracebackType
from typing import Self

import aiomqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from stream import __version__, events
from stream.errors import BrokerUnreachable, SettingsError
from stream.events import Event
from stream.settings import Settings
from stream.sinks import topics
from stream.sinks.outbox import Message, Outbox, OutboxStatistics

IN_FLIGHT = 20
"""Messages published but not yet acknowledged; more gained nothing in throughput."""

FLUSH_S = 5.0
"""How long a clean exit waits for what is still owed."""

FIRST_PAUSE_S = 0.5
GOODBYE_S = 1.0
EXPIRY_S = 300
"""Rolling state older than this the broker forgets (MQTT 5): a stale mood is worse than none."""

log = logging.getLogger(__name__)


class MqttSink:
    """`mqtt://[user@]host[:port]/prefix`."""

    def __init__(self, *, target: str, settings: Settings) -> None:
        self._settings = settings.mqtt
        self._node = settings.node
        self._broker = topics.parse(target, settings.mqtt)
        self._availability = topics.availability(self._broker.prefix, self._node)
        self._outbox = Outbox(capacity=settings.mqtt.queue_events)
        self._wake = asyncio.Event()
        self._closing = asyncio.Event()
        self._connected = self._ever_connected = self._warned = False
        self._reason = "no answer"
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        """Start connecting; a broker that is away is waited for in the background."""
        self._tls()  # a certificate that cannot be read is refused at once
        self._task = asyncio.create_task(self._keep_connected(), name=f"mqtt {self._broker.host}")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Flush, publish `offline`, disconnect. Raises `BrokerUnreachable` if the broker was never there."""
        self._closing.set()
        self._wake.set()
        if self._task is None:
            return
        patience_s = FLUSH_S if kind is None else FIRST_PAUSE_S  # a short run may end before a far broker has answered
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(patience_s):
                    await asyncio.shield(self._task)
        finally:  # also when the closing itself is cut off
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
        waiting = self._outbox.statistics().waiting
        if kind is None and not self._ever_connected:
            raise BrokerUnreachable(
                f"{self._where} was never reached; {waiting} messages were not delivered ({self._reason})"
            )
        if waiting:
            log.warning("%s did not take the last %d messages", self._where, waiting)

    async def send(self, event: Event) -> None:
        """Owe the event to the broker."""
        topic = topics.of(event, prefix=self._broker.prefix, node=self._node)
        self._outbox.put(topic, events.to_json(event), rolling=events.is_rolling(event))
        self._wake.set()

    def statistics(self) -> OutboxStatistics:
        """Counts so far."""
        return self._outbox.statistics()

    @property
    def _where(self) -> str:
        return f"the MQTT broker at {self._broker.host}:{self._broker.port}"

    async def _keep_connected(self) -> None:
        """Connect and publish, again and again, until a clean end."""
        pause_s = FIRST_PAUSE_S
        while True:
            lost: BaseException | None = None
            try:
                await self._converse()
            except* (aiomqtt.MqttError, OSError) as group:
                lost = _first(group)
                self._reason = str(lost)
            if lost is None or (self._closing.is_set() and not self._ever_connected):
                return
            if self._connected or not self._warned:
                log.warning("%s does not take messages (%s); trying again until it does", self._where, lost)
                pause_s, self._warned = FIRST_PAUSE_S, True
            self._connected = False
            await self._rest(pause_s * random.uniform(0.5, 1.0))  # noqa: S311 - many nodes must not knock at once
            pause_s = min(2 * pause_s, self._settings.reconnect_max_s)

    async def _rest(self, pause_s: float) -> None:
        """Pause before the next attempt; closing ends a pause, for what is owed has only `FLUSH_S` left."""
        if self._closing.is_set():
            await asyncio.sleep(min(pause_s, FIRST_PAUSE_S))
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(pause_s):
                await self._closing.wait()

    async def _converse(self) -> None:
        """One connection, from `online` to `offline`. Raises a group around `MqttError` when it is lost."""
        async with self._client() as client:
            self._connected = self._ever_connected = True
            self._outbox.rewind()
            try:
                await self._greet(client)
                await self._publish_all(client)
            finally:  # a connection that is closed cleanly does not fire the will, even when we are cut off
                with suppress(aiomqtt.MqttError, TimeoutError):
                    async with asyncio.timeout(GOODBYE_S):
                        await client.publish(self._availability, "offline", qos=self._settings.qos, retain=True)

    def _client(self) -> aiomqtt.Client:
        settings = self._settings
        password = settings.password.get_secret_value()
        client = aiomqtt.Client(
            self._broker.host,
            self._broker.port,
            identifier=settings.client_id or f"{self._node}-{socket.gethostname()}"[:64],
            username=self._broker.username or None,
            password=password or None,
            protocol=aiomqtt.ProtocolVersion.V5,
            keepalive=settings.keepalive_s,
            will=aiomqtt.Will(self._availability, "offline", qos=settings.qos, retain=True),
            tls_context=self._tls(),
            max_concurrent_outgoing_calls=IN_FLIGHT,
        )
        client.pending_calls_threshold = IN_FLIGHT  # it would warn of every message past the tenth in flight
        return client

    def _tls(self) -> ssl.SSLContext | None:
        if not self._broker.tls:
            return None
        try:
            return ssl.create_default_context(cafile=self._settings.ca_file or None)
        except (OSError, ssl.SSLError) as error:
            raise SettingsError(f"mqtt.ca_file: {self._settings.ca_file} cannot be used: {error}") from None

    async def _greet(self, client: aiomqtt.Client) -> None:
        about = {"node": self._node, "version": __version__, "schema": events.SCHEMA_VERSION}
        qos = self._settings.qos
        await client.publish(topics.info(self._broker.prefix, self._node), json.dumps(about), qos=qos, retain=True)
        await client.publish(self._availability, "online", qos=qos, retain=True)

    async def _publish_all(self, client: aiomqtt.Client) -> None:
        """Publish what is owed, several messages in flight, until closing and nothing is owed."""
        async with asyncio.TaskGroup() as flights:
            room = asyncio.Semaphore(IN_FLIGHT)
            listening = flights.create_task(self._watch(client), name="mqtt connection")
            while True:
                self._wake.clear()
                while (message := self._outbox.take()) is not None:
                    await room.acquire()
                    flights.create_task(self._publish(client, message, room), name=f"publish {message.topic}")
                if self._closing.is_set() and self._outbox.empty:
                    break
                await self._wake.wait()
            listening.cancel()

    async def _publish(self, client: aiomqtt.Client, message: Message, room: asyncio.Semaphore) -> None:
        try:
            await client.publish(
                message.topic,
                message.payload,
                qos=self._settings.qos,
                retain=message.rolling,
                properties=_expiring() if message.rolling else None,
            )
            self._outbox.acknowledge(message)
        finally:
            room.release()
            self._wake.set()

    async def _watch(self, client: aiomqtt.Client) -> None:
        """Notice a lost connection even while nothing is published."""
        async for _ in client.messages:
            pass


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _expiring() -> Properties:
    properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
    properties.MessageExpiryInterval = EXPIRY_S
    return properties
