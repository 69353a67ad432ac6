"""Events to an MQTT broker, at least once and in order, across its outages and our own death.

`send` never waits for the broker: it puts events into the `Outbox`, and those that count (turns, streams) into the
`Journal` on disk; when it returns, they survive us. `Delivery` empties the outbox. A broker that is away never stops
the run: it costs one warning, and what could not be delivered is said at the end.

Beside events the node tells who is there, what each stream does, and what was lost (`presence`), and announces itself
to Home Assistant where it is asked to (`homeassistant`).
"""

from __future__ import annotations

import json
import logging
import secrets
import socket
import ssl
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from stream import events
from stream.clock import steady_s
from stream.errors import BrokerUnreachable
from stream.events import Event, StreamEvent
from stream.settings import Settings
from stream.sinks.base import SinkCounters
from stream.sinks.mqtt import presence, topics
from stream.sinks.mqtt.connection import BrokerConnection, password, tls_context
from stream.sinks.mqtt.delivery import Delivery
from stream.sinks.mqtt.homeassistant import Discovery
from stream.sinks.mqtt.incoming import Answer, CommandReceiver
from stream.sinks.mqtt.journal import Journal, name_of, state_folder
from stream.sinks.mqtt.outbox import Message, Outbox, OutboxStatistics

GONE_S = 5.0
"""After so long what is retained of a stream or call that has ended is taken back, and so is its device."""

log = logging.getLogger(__name__)


class MqttSink:
    """`mqtt://[user@]host[:port]/prefix`."""

    def __init__(self, *, target: str, settings: Settings) -> None:
        self._settings = settings.mqtt
        self._node = settings.node
        self._address = topics.parse(target, settings.mqtt)
        self._outbox = Outbox(
            capacity=settings.mqtt.queue_events,
            capacity_bytes=settings.mqtt.outbox_mb * 1e6,
            age_s=settings.mqtt.outbox_age_s,
        )
        self._journal = Journal(
            folder=state_folder(settings.mqtt.outbox), name=name_of(self._node, self._address), clock=steady_s
        )
        host = socket.gethostname()[:20]
        self._identifier = settings.mqtt.client_id or f"{self._node[:20]}-{host}-{secrets.token_hex(4)}"
        self._announcer = (
            Discovery(settings=settings, prefix=self._address.prefix) if settings.mqtt.discovery_prefix else None
        )
        self._incoming = CommandReceiver(
            topic=self._own("command"),
            reply_topic=self._own("response"),
            prefix=self._address.prefix,
            qos=settings.mqtt.qos,
            allowed=settings.mqtt.commands,
            status_topic=self._announcer.status_topic if self._announcer is not None else "",
            came_up=self._remind,
        )
        self._delivery = Delivery(
            where=self._where,
            connect=self._connection,
            outbox=self._outbox,
            journal=self._journal,
            qos=settings.mqtt.qos,
            reconnect_max_s=settings.mqtt.reconnect_max_s,
            greeting=[
                (self._own("info"), presence.info(settings).model_dump_json(by_alias=True)),
                (self._own("availability"), "online"),
            ],
            farewell=(self._own("availability"), "offline"),
            listen=self._incoming.listen,
            refused=self._refused,
            keep_house=self._keep_house,
            content_type=self._content_type,
            clock=steady_s,
        )
        self._tls: ssl.SSLContext | None = None
        self._password = ""
        self._lost: list[str] = []  # ids of the first and the last event dropped
        self._losses_told = (0, 0)
        self._refused_kinds: set[str] = set()
        self._ended: dict[str, tuple[float, bool]] = {}  # streams and calls: when, and whether it was of a call

    def attach(self, answer: Answer) -> None:
        """Who carries out commands, where some are allowed."""
        self._incoming.attach(answer)

    async def __aenter__(self) -> Self:
        """Take up what is still owed and start connecting; a broker that is away is waited for in the background."""
        self._tls = tls_context(self._settings) if self._address.tls else None  # bad ones are refused at once
        self._password = password(self._settings)
        self._drop(self._outbox.restore(await self._journal.open()))
        if self._announcer is not None:
            self._outbox.put_state(*self._announcer.node(), now_s=steady_s())
        self._delivery.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Flush, publish `offline`, disconnect. Raises `BrokerUnreachable` if the broker was never there."""
        self._forget(*(source for source, (_, of_call) in self._ended.items() if of_call))  # it does not come back
        try:
            await self._delivery.finish(patient=kind is None)
        finally:
            waiting = self._outbox.statistics().waiting
            kept = "; they are kept for the next run" if waiting and self._journal.durable else ""
            await self._journal.close()
        if kind is None and not self._delivery.ever_connected:
            raise BrokerUnreachable(
                f"{self._where} was never reached; "
                f"{waiting} messages were not delivered ({self._delivery.reason}){kept}"
            )
        if waiting:
            log.warning("%s did not take the last %d messages%s", self._where, waiting, kept)

    async def send(self, event: Event) -> None:
        """Owe the event to the broker."""
        await self.send_all([event])

    async def send_all(self, told: Sequence[Event]) -> None:
        """Owe events to the broker; when this returns those that count are on disk, or it was said that none can be."""
        now_s = steady_s()
        fresh: list[Message] = []
        gone: list[Message] = []
        self._forget_gone(now_s)
        for event in told:
            topic = topics.of(event, prefix=self._address.prefix, node=self._node)
            self._announce(event, now_s)
            if events.is_rolling(event):
                self._outbox.put_state(topic, self._payload(event), now_s=now_s, lasts_s=self._settings.expiry_s)
                continue
            message, dropped = self._outbox.put(topic, self._payload(event), now_s=now_s)
            fresh.append(message)
            gone += dropped
        self._drop(gone)
        self._delivery.wake()
        await self._journal.write([message for message in fresh if message not in gone], obsolete=gone)

    def statistics(self) -> OutboxStatistics:
        """Counts so far."""
        return self._outbox.statistics()

    def account(self) -> SinkCounters:
        """What `health` says about this sink beyond its queue."""
        counts = self._outbox.statistics()
        return SinkCounters(
            dropped=counts.dropped, refused=counts.refused, owed=counts.waiting, unsaved=self._journal.unsaved
        )

    @property
    def _where(self) -> str:
        return f"the MQTT broker at {self._address.host}:{self._address.port}"

    def _own(self, leaf: str) -> str:
        return topics.of_node(self._address.prefix, self._node, leaf)

    def _payload(self, event: Event) -> str:
        if self._settings.payload == "native":
            return events.to_json(event)
        return json.dumps(presence.cloud_event(event, node=self._node), separators=(",", ":"))

    def _announce(self, event: Event, now_s: float) -> None:
        """What has to be known before the event: that its stream is there, what it does, and how it is shown."""
        self._ended.pop(event.source, None)
        if events.is_last(event):
            self._ended[event.source] = (now_s, event.call is not None)
        announced = self._announcer.observe(event) if self._announcer is not None else None
        if announced is not None:
            self._outbox.put_state(*announced, now_s=now_s)
        if not isinstance(event, StreamEvent) or (change := presence.after(event)) is None:
            return
        state, there = change
        lasts_s = self._settings.expiry_s if events.is_last(event) else None
        for leaf, payload in (("state", state.model_dump_json()), ("availability", there)):
            topic = topics.of_source(self._address.prefix, self._node, event.source, leaf)
            self._outbox.put_state(topic, payload, now_s=now_s, lasts_s=lasts_s)

    def _forget(self, *sources: str) -> None:
        """Take back what is retained of streams and calls that have ended."""
        for source in sources:
            for leaf in topics.RETAINED:
                self._outbox.clear(topics.of_source(self._address.prefix, self._node, source, leaf))
            if self._announcer is not None and (topic := self._announcer.forget(source)) is not None:
                self._outbox.clear(topic)

    def _drop(self, gone: Sequence[Message]) -> None:
        """Note which events had to be given up."""
        for message in gone:
            told = json.loads(message.payload)
            self._lost = [self._lost[0] if self._lost else told["id"], told["id"]]
        if gone:
            if not self._losses_told[0]:
                log.warning("the outbox for %s is full: its oldest events are dropped, and counted", self._where)
            self._tell_losses()

    def _refused(self, message: Message, reason: str) -> None:
        kind = message.topic.rpartition("/")[2]  # of each source: sources come and go
        if kind not in self._refused_kinds:
            self._refused_kinds.add(kind)
            log.warning(
                "%s refuses what is published on %s (%s); check its access list", self._where, message.topic, reason
            )
        if message.topic != self._own("outbox"):
            self._tell_losses()

    def _tell_losses(self) -> None:
        """On a topic of its own, where the newest count is kept."""
        counts = self._outbox.statistics()
        self._losses_told = (counts.dropped, counts.refused)
        oldest, newest = self._lost or (None, None)
        lost = presence.OutboxState(dropped=counts.dropped, refused=counts.refused, oldest=oldest, newest=newest)
        self._outbox.put_state(self._own("outbox"), lost.model_dump_json(), now_s=steady_s())
        self._delivery.wake()

    def _remind(self) -> None:
        """Home Assistant has come up: everything that is retained is told again."""
        self._outbox.remind()
        self._delivery.wake()

    def _keep_house(self) -> None:
        """Once a second: what is too old goes, and so do streams that have ended, in a node that goes on."""
        now_s = steady_s()
        gone = self._outbox.expire(now_s=now_s)
        for message in gone:
            self._journal.retire(message)
        self._drop(gone)
        self._forget_gone(now_s)

    def _forget_gone(self, now_s: float) -> None:
        """Streams and calls that ended a while ago; also while the broker is away, or they would add up."""
        while self._ended:
            source, (ended_s, _) = next(iter(self._ended.items()))  # the first to have ended
            if now_s - ended_s <= GONE_S:
                return
            del self._ended[source]
            self._forget(source)
            self._delivery.wake()

    def _content_type(self, message: Message) -> str:
        if not message.payload.startswith("{"):
            return "text/plain"
        wrapped = self._settings.payload == "cloudevents" and message.payload.startswith('{"specversion"')
        return "application/cloudevents+json" if wrapped else "application/json"

    def _connection(self) -> BrokerConnection:
        return BrokerConnection(
            address=self._address,
            settings=self._settings,
            identifier=self._identifier,
            will=(self._own("availability"), "offline"),
            tls=self._tls,
            password=self._password,
        )
