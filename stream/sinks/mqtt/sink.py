"""The MQTT sink: events reach the broker at least once and in order, across outages of broker and process.

`send` never waits for the broker: it adds events to the `Outbox`, and ordered ones (turns, streams) to the `Journal` on
disk; when it returns, they survive the process. `Delivery` empties the outbox. An unreachable broker never stops a run:
it costs one warning, and what was not delivered is reported at the end.

Beside events the node publishes its own state, that of each stream, and losses (`presence`), and announces itself to
Home Assistant if `mqtt.discovery_prefix` is set (`home`).
"""

from __future__ import annotations

import json
import logging
import secrets
import socket
import ssl
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import TracebackType
from typing import Self

from stream import events
from stream.clock import steady_s
from stream.errors import BrokerUnreachable
from stream.events import Event, StreamEvent
from stream.settings import AlertsSettings, Settings
from stream.sinks.base import SinkCounters
from stream.sinks.mqtt import presence, topics
from stream.sinks.mqtt.connection import BrokerConnection
from stream.sinks.mqtt.credentials import read_password, tls_context
from stream.sinks.mqtt.delivery import Delivery, RetainedMessage
from stream.sinks.mqtt.home import Home, State
from stream.sinks.mqtt.incoming import Answer, CommandReceiver
from stream.sinks.mqtt.leftovers import Leftovers
from stream.sinks.mqtt.limits import DeliveryLimits
from stream.sinks.mqtt.link import Link
from stream.sinks.mqtt.neighbours import Neighbours, Observe
from stream.sinks.mqtt.refusals import Refusals
from stream.sinks.mqtt.twins import TwinWatch
from stream.sinks.outbox.files import file_name, state_folder
from stream.sinks.outbox.journal import Journal
from stream.sinks.outbox.messages import Message, Outbox, OutboxStatistics
from stream.sinks.outbox.set_aside import SetAsideStore

CLEAR_DELAY_S = 5.0
"""Time after its end until a stream's or call's retained messages and its device are cleared."""

OUTBOX_ADVICE = "check the broker or raise mqtt.queue_events, mqtt.outbox_mb or mqtt.outbox_age_s"

DEFAULT_LIMITS = DeliveryLimits()

log = logging.getLogger(__name__)


class MqttSink:
    """Publishes events to `mqtt://[user@]host[:port]/prefix`."""

    def __init__(
        self,
        *,
        target: str,
        settings: Settings,
        limits: DeliveryLimits = DEFAULT_LIMITS,
        clear_delay_s: float = CLEAR_DELAY_S,
        clock: Callable[[], float] = steady_s,
    ) -> None:
        self._settings = settings.mqtt
        self._node = settings.node
        self._all_settings = settings
        self._clear_delay_s = clear_delay_s
        self._clock = clock
        self._address = topics.parse_address(target, settings.mqtt)
        self._outbox = Outbox(
            capacity=settings.mqtt.queue_events,
            capacity_bytes=settings.mqtt.outbox_mb * 1e6,
            max_age_s=settings.mqtt.outbox_age_s,
            recorded=bool(settings.mqtt.outbox),
        )
        folder, name = state_folder(settings.mqtt.outbox), file_name(self._node, self._address.key)
        set_aside = SetAsideStore.of(folder, name, settings.mqtt)
        self._journal = Journal(folder=folder, name=name, clock=clock, set_aside=set_aside)
        host = socket.gethostname()[:20]
        self._identifier = settings.mqtt.client_id or f"{self._node[:20]}-{host}-{secrets.token_hex(4)}"
        self._home = Home(settings=settings, prefix=self._address.prefix)
        self._info = presence.node_info(settings)
        self._neighbours = Neighbours(prefix=self._address.prefix, node=self._node)
        self._receiver = CommandReceiver(
            topic=self._node_topic("command"),
            reply_topic=self._node_topic("response"),
            qos=settings.mqtt.qos,
            allowed=settings.mqtt.commands,
            status_topic=self._home.status_topic,
            on_online=self._requeue_retained,
            twins=TwinWatch(name=self._node, topic=self._node_topic, info=self._info, qos=settings.mqtt.qos),
            neighbours=self._neighbours,
        )
        self._refusals = Refusals(clock=steady_s)
        self._delivery = self._make_delivery(limits)
        self._tls: ssl.SSLContext | None = None
        self._password = ""
        self._dropped_ids: tuple[str, str] | None = None  # the first and the last
        self._reported_drops = 0
        self._endings = presence.Endings()
        self._leftovers = Leftovers(outbox=self._outbox, own_topics=self._node_topic(""), clock=clock)
        self._ended: dict[str, tuple[float, bool]] = {}  # streams and calls: time of the end, whether part of a call

    def attach(self, answer: Answer) -> None:
        """Set the function that executes commands, where some are allowed."""
        self._receiver.attach(answer)

    def attach_levels(self, levels: Callable[[], Mapping[str, float]]) -> None:
        """Set the function that returns the current level of each stream in dBFS."""
        self._home.attach_levels(levels)

    def attach_alerts(self, alerts: Callable[[], AlertsSettings]) -> None:
        """Set the function that returns the current conditions of alerts."""
        self._home.attach_alerts(alerts)

    def attach_neighbours(self, observe: Observe) -> None:
        """Set the function that takes the speaker events of other nodes."""
        self._neighbours.attach(observe)

    async def __aenter__(self) -> Self:
        """Load undelivered events of earlier runs and start connecting. Raises `SettingsError` for bad credentials."""
        self._tls = tls_context(self._settings) if self._address.tls else None
        self._password = read_password(self._settings)
        self._count_dropped(self._outbox.restore(await self._journal.open()))
        left = self._journal.retained_topics
        self._leftovers.take_back(left, devices_return=bool(self._home.status_topic))
        for topic in filter(self._home.is_lasting_device, left):
            self._leftovers.returned(topic)
        self._put_states(self._home.start())
        self._delivery.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Flush, publish `offline`, disconnect. Raises `BrokerUnreachable` if the broker never answered."""
        finished = kind is None and self._endings.finished
        self._leftovers.clear()
        if finished:
            self._take_back()
        else:
            calls = [source for source, (_, of_call) in self._ended.items() if of_call]
            self._clear(*calls)  # a call does not continue
        try:
            await self._delivery.close(
                after_error=kind is not None, closing_states=self._closing_states(finished=finished)
            )
        finally:
            waiting = self._outbox.statistics().waiting
            kept = "; they are kept for the next run" if waiting and self._journal.durable else ""
            await self._journal.close()
        if kind is None and not self._delivery.ever_connected:
            raise BrokerUnreachable(
                f"could not reach {self._broker} ({self._delivery.failure}); {waiting} messages not delivered{kept}"
            )
        if waiting:
            log.warning("%s: %d messages not delivered%s", self._broker, waiting, kept)

    def _take_back(self) -> None:
        """Clear all that is retained: a run that has finished has no state."""
        self._clear(*self._endings.sources)
        for topic in (*self._home.topics(), *map(self._node_topic, ("health", "outbox", "rooms", "conditions"))):
            self._outbox.clear(topic)

    def _closing_states(self, *, finished: bool) -> list[RetainedMessage]:
        """Return what is published after `offline`: a stopped node will come back, a finished one will not."""
        if finished:
            return [(self._node_topic(leaf), "") for leaf in ("info", "availability")]
        return [(self._node_topic("info"), presence.node_info(self._all_settings, stopped=True))]

    async def send(self, event: Event) -> None:
        """Add an event to the outbox."""
        await self.send_all([event])

    async def send_all(self, batch: Sequence[Event]) -> None:
        """Add events to the outbox; returns when ordered ones are on disk, or it was logged that the disk failed."""
        now_s = self._clock()
        new: list[Message] = []
        dropped: list[Message] = []
        self._clear_ended(now_s)
        for event in batch:
            topic = topics.event_topic(event, prefix=self._address.prefix, node=self._node)
            self._announce(event, now_s)
            if events.is_rolling(event):
                self._outbox.put_state(
                    topic, self._payload(event), now_s=now_s, expires_after_s=self._settings.expiry_s
                )
                continue
            message, dropped_for_it = self._outbox.put(topic, self._payload(event), now_s=now_s)
            new.append(message)
            dropped += dropped_for_it
        self._count_dropped(dropped)
        self._delivery.wake()
        await self._journal.write([message for message in new if message not in dropped], obsolete=dropped)

    def statistics(self) -> OutboxStatistics:
        """Counts so far."""
        return self._outbox.statistics()

    def counters(self) -> SinkCounters:
        """Counts for `health`, beyond those of the queue before this sink."""
        counts = self._outbox.statistics()
        return SinkCounters(
            dropped=counts.dropped,
            refused=counts.refused,
            pending=counts.waiting,
            not_persisted=self._journal.not_persisted,
            broker=self._delivery.link.health(),
        )

    @property
    def _broker(self) -> str:
        return f"MQTT broker {self._address.host}:{self._address.port}"

    def _node_topic(self, leaf: str) -> str:
        return topics.node_topic(self._address.prefix, self._node, leaf)

    def _payload(self, event: Event) -> str:
        return presence.payload(event, self._settings.payload, node=self._node)

    def _announce(self, event: Event, now_s: float) -> None:
        """Add what subscribers need before the event: its device, and the stream's state and availability."""
        self._endings.observe(event)
        self._ended.pop(event.source, None)
        if events.is_last(event):
            self._ended[event.source] = (now_s, event.call is not None)
        self._put_states(self._home.observe(event, now_s=now_s))
        if not isinstance(event, StreamEvent) or (change := presence.stream_state(event)) is None:
            return
        state, availability = change
        lasting = not events.is_last(event)
        for leaf, payload in (("state", state.model_dump_json()), ("availability", availability)):
            topic = topics.source_topic(self._address.prefix, self._node, event.source, leaf)
            self._outbox.put_state(
                topic, payload, now_s=now_s, expires_after_s=self._settings.expiry_s, lasting=lasting
            )

    def _clear(self, *sources: str) -> None:
        """Clear the retained messages of streams and calls that have ended."""
        for source in sources:
            for topic in self._home.forget(source):  # the device first
                self._outbox.clear(topic)
            for leaf in topics.RETAINED:
                self._outbox.clear(topics.source_topic(self._address.prefix, self._node, source, leaf))

    def _put_states(self, states: Iterable[State]) -> None:
        now_s = self._clock()
        for state in states:
            self._leftovers.returned(state.topic)
            expires_after_s = self._settings.expiry_s if state.lasting else state.expires_after_s
            self._outbox.put_state(
                state.topic, state.payload, now_s=now_s, expires_after_s=expires_after_s, lasting=state.lasting
            )

    def _clear_ended(self, now_s: float) -> None:
        """Clear streams and calls whose delay is over; without a broker as well, or they would accumulate."""
        while self._ended:
            source, (ended_s, _) = next(iter(self._ended.items()))  # the earliest end
            if now_s - ended_s <= self._clear_delay_s:
                return
            del self._ended[source]
            self._clear(source)
            self._delivery.wake()

    def _count_dropped(self, dropped: Sequence[Message]) -> None:
        """Report events that the outbox dropped."""
        if not dropped:
            return
        for message in dropped:
            event_id = json.loads(message.payload)["id"]
            self._dropped_ids = (self._dropped_ids[0] if self._dropped_ids else event_id, event_id)
        if not self._reported_drops:
            log.warning("%s: outbox full, dropping the oldest events; %s", self._broker, OUTBOX_ADVICE)
        self._publish_losses()

    def _on_refused(self, message: Message, reason: str) -> None:
        if self._delivery.link.set_aside(message.topic, reason):
            log.warning(
                "%s: message on %s set aside (%s); check the broker's access list and limits",
                self._broker,
                message.topic,
                reason,
            )
        if message.topic != self._node_topic("outbox"):
            self._publish_losses()

    def _publish_losses(self) -> None:
        """Publish the counts of dropped and refused messages as retained state."""
        counts = self._outbox.statistics()
        self._reported_drops = counts.dropped
        oldest, newest = self._dropped_ids or (None, None)
        losses = presence.OutboxState(dropped=counts.dropped, refused=counts.refused, oldest=oldest, newest=newest)
        self._outbox.put_state(self._node_topic("outbox"), losses.model_dump_json(), now_s=self._clock())
        self._delivery.wake()

    def _requeue_retained(self) -> None:
        """Publish all retained messages again for a restarted Home Assistant."""
        self._outbox.requeue_retained()
        self._delivery.wake()

    def _housekeeping(self) -> None:
        """Drop expired events and clear ended streams."""
        now_s = self._clock()
        expired = self._outbox.expire(now_s=now_s)
        for message in expired:
            self._journal.mark_acknowledged(message)
        self._count_dropped(expired)
        self._clear_ended(now_s)
        self._put_states(changed := list(self._home.update(now_s=now_s)))
        if self._leftovers.poll() | self._outbox.renew(now_s=now_s) or changed:
            self._delivery.wake()

    def _make_delivery(self, limits: DeliveryLimits) -> Delivery:
        settings = self._settings
        return Delivery(
            broker=self._broker,
            connect=self._make_connection,
            refusals=self._refusals,
            link=Link(clock=self._clock),
            outbox=self._outbox,
            journal=self._journal,
            qos=settings.qos,
            reconnect_max_s=settings.reconnect_max_s,
            birth=[
                (self._node_topic("info"), self._info),
                (self._node_topic("availability"), "online"),
            ],
            offline=(self._node_topic("availability"), "offline"),
            subscribe=self._receiver.subscribe,
            receive=self._receiver.receive,
            on_refused=self._on_refused,
            housekeeping=self._housekeeping,
            content_type=lambda message: presence.content_type(message.payload),
            clock=self._clock,
            limits=limits,
        )

    def _make_connection(self) -> BrokerConnection:
        return BrokerConnection(
            address=self._address,
            settings=self._settings,
            identifier=self._identifier,
            will=(self._node_topic("availability"), "offline"),
            tls=self._tls,
            password=self._password,
            refusals=self._refusals,
        )
