"""Delivery of the outbox to the broker: connect, publish with several messages in flight, reconnect, close.

An acknowledgement removes a message from the outbox (QoS 1 and 2). A refusal is logged and not retried, for the
message would block those behind it; only one for a quota is, a few times, while the others are published. A connection
that is lost, or on which nothing is acknowledged for `ack_timeout_s`, is replaced by a new one after a backoff that
doubles up to `reconnect_max_s`, with jitter, and starts again only after a connection that lasted for `stable_s`. If
the broker closed it, `Refusals` finds the message that it was closed for.

The node is `online` (retained) once its command topics are subscribed and acknowledged. `offline` is the will, and is
also published before a clean disconnect, which does not trigger the will. A close waits for a broker that acknowledges
messages, not for one that does not.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from typing import Any

from stream.sinks.mqtt.connection import BrokerConnection, BrokerError
from stream.sinks.mqtt.leftovers import record_topics
from stream.sinks.mqtt.limits import DeliveryLimits
from stream.sinks.mqtt.link import Link
from stream.sinks.mqtt.properties import publish_properties
from stream.sinks.mqtt.quota import QuotaRetries
from stream.sinks.mqtt.refusals import MIN_FAILURE_CODE, NOT_AUTHORIZED, QUOTA_EXCEEDED, Refusals
from stream.sinks.mqtt.tasks import cancel_and_wait, first_error, reason_of
from stream.sinks.outbox.journal import Journal
from stream.sinks.outbox.messages import Message, Outbox

ACKNOWLEDGED_BATCH = 256
"""Acknowledged messages that trigger a journal write before the next housekeeping."""

RetainedMessage = tuple[str, str]
"""A topic and its retained payload."""

log = logging.getLogger(__name__)


class Delivery:
    """The task that empties an outbox.

    `subscribe` returns once the broker has acknowledged the subscriptions; then `birth` is published, and `receive`
    runs for the rest of the connection. `on_refused` is called with a refused message and the broker's reason.
    """

    def __init__(
        self,
        *,
        broker: str,
        connect: Callable[[], BrokerConnection],
        refusals: Refusals,
        link: Link,
        outbox: Outbox,
        journal: Journal,
        qos: int,
        reconnect_max_s: float,
        birth: Sequence[RetainedMessage],
        offline: RetainedMessage,
        subscribe: Callable[[BrokerConnection], Coroutine[Any, Any, None]],
        receive: Callable[[BrokerConnection], Coroutine[Any, Any, None]],
        on_refused: Callable[[Message, str], None],
        housekeeping: Callable[[], None],
        content_type: Callable[[Message], str],
        clock: Callable[[], float],
        limits: DeliveryLimits,
    ) -> None:
        self._broker = broker
        self._connect = connect
        self._refusals = refusals
        self.link = link
        self._outbox = outbox
        self._journal = journal
        self._qos = qos
        self._reconnect_max_s = reconnect_max_s
        self._birth = [Message(topic, payload, rolling=True) for topic, payload in birth]
        self._offline = offline
        self._closing_states: Sequence[RetainedMessage] = ()
        self._subscribe = subscribe
        self._receive = receive
        self._on_refused = on_refused
        self._housekeeping = housekeeping
        self._content_type = content_type
        self._clock = clock
        self._limits = limits
        self._wake = asyncio.Event()
        self._closing = asyncio.Event()
        self._batch_acknowledged = asyncio.Event()
        self._next: deque[Message] = deque()  # to be published before the outbox
        self._quota = QuotaRetries(pauses_s=limits.quota_pauses_s, clock=clock)
        self._warned = self._is_alone = False
        self._settling: asyncio.TimerHandle | None = None
        self._in_flight = 0
        self._answer_s = 0.0  # how long the broker takes for a message that is alone, smoothed
        self._started_s = self._progress_s = 0.0
        self._task: asyncio.Task[None] | None = None
        self.connected = self.ever_connected = False
        self.failure = "no answer"
        self._closed_reason = ""

    def start(self) -> None:
        """Start connecting in the background."""
        self._started_s = self._clock()
        self._task = asyncio.create_task(self._keep_connected(), name=f"mqtt {self._broker}")

    def wake(self) -> None:
        """Signal that the outbox has messages. Raises the error that ended the delivery, if one did."""
        if self._task is not None and self._task.done() and not self._closing.is_set():
            self._task.result()
        self._wake.set()

    async def close(self, *, after_error: bool, closing_states: Sequence[RetainedMessage] = ()) -> None:
        """Deliver what the limits permit, publish `offline` and then `closing_states`, and disconnect."""
        self._closing_states = closing_states
        self._closing.set()
        self._wake.set()
        task = self._task
        if task is None:
            return
        try:
            await self._flush(task, after_error=after_error)
        finally:  # also when the close itself is cancelled
            await cancel_and_wait(task, retry_s=2 * self._limits.shutdown_timeout_s)
        if not task.cancelled():
            task.result()

    async def _flush(self, task: asyncio.Task[None], *, after_error: bool) -> None:
        """Wait until everything is delivered or a limit is reached."""
        limits, closed_s = self._limits, self._clock()
        timeout_s = limits.abort_timeout_s if after_error else limits.flush_timeout_s
        while not task.done():
            deadline_s = max(closed_s, self._progress_s) + limits.idle_timeout_s
            if not after_error and not self.ever_connected:  # a run may be shorter than the broker's response time
                deadline_s = max(deadline_s, self._started_s + limits.flush_timeout_s)
            deadline_s = min(deadline_s, closed_s + timeout_s)
            if (remaining_s := deadline_s - self._clock()) <= 0:
                return
            await asyncio.wait([task], timeout=remaining_s)

    async def _keep_connected(self) -> None:
        """Connect and publish until a clean close."""
        backoff_s = self._limits.min_backoff_s
        while True:
            lost: BaseException | None = None
            self._closed_reason = ""
            try:
                await self._run_connection()
            except* (BrokerError, OSError) as group:
                lost = first_error(group)
            if lost is None:
                return
            self.failure = self._closed_reason or reason_of(lost)
            if self.connected or not self._warned:
                what = "connection lost" if self.connected else "cannot connect"
                log.warning("%s: %s (%s); retrying", self._broker, what, self.failure)
                self._warned = True
            if self.link.connected_s > self._limits.stable_s:
                backoff_s = self._limits.min_backoff_s
            self.connected = False
            self.link.lost(self.failure)
            await self._pause(backoff_s * random.uniform(0.5, 1.0))  # noqa: S311 - jitter keeps many nodes apart
            backoff_s = min(2 * backoff_s, self._reconnect_max_s)

    async def _pause(self, backoff_s: float) -> None:
        """Wait before a reconnect; a close ends the pause early, since little time is left to deliver."""
        if self._closing.is_set():
            await asyncio.sleep(min(backoff_s, self._limits.min_backoff_s))
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(backoff_s):
                await self._closing.wait()

    async def _run_connection(self) -> None:
        """Use one connection, from subscribing to `offline`. Raises a group around `BrokerError` when it is lost."""
        connection = self._connect()
        self._in_flight, self._is_alone = 0, False
        self._next.clear()
        self._quota.restart()
        async with connection:
            try:
                await self._subscribe(connection)
                self._begin()
                async with asyncio.TaskGroup() as group:
                    background = [
                        group.create_task(self._receive(connection), name="mqtt incoming"),
                        group.create_task(self._keep_house(), name="mqtt housekeeping"),
                        group.create_task(self._write_acknowledged(), name="mqtt outbox"),
                    ]
                    await self._publish_all(connection)
                    for task in background:
                        task.cancel()
            finally:  # a clean disconnect does not trigger the will, not even after a cancellation
                if self._settling is not None:
                    self._settling.cancel()
                if connection.closed_by_broker:
                    self._closed_reason = connection.disconnect_reason or "closed by the broker"
                    self._refusals.closed(connection.in_flight, code=connection.disconnect_code)
                await self._publish_offline(connection)

    def _begin(self) -> None:
        """Start publishing on a new connection: first the birth, then all that is not acknowledged."""
        self.connected = self.ever_connected = True
        self._progress_s = self._clock()
        self._outbox.requeue_unacknowledged()
        self._housekeeping()  # drops what has expired during the outage
        counts = self._outbox.statistics()
        self.link.connected(sent=counts.sent, waiting=counts.waiting)
        self._tell_recovery()
        self._next.extend(self._birth)

    def _tell_recovery(self) -> None:
        counts = self._outbox.statistics()
        if recovery := self.link.recovery(sent=counts.sent, waiting=counts.waiting):
            log.warning("%s: %s", self._broker, recovery)

    async def _publish_offline(self, connection: BrokerConnection) -> None:
        """Publish `offline`; if the broker does not acknowledge it, close so that it publishes the will."""
        acknowledged = asyncio.Event()
        timeout_s = self._limits.shutdown_timeout_s
        try:
            *first, last = (self._offline, *self._closing_states)
            for topic, payload in first:
                self._post_retained(connection, topic, payload)
            self._post_retained(connection, *last, acknowledged=acknowledged)
            async with asyncio.timeout(timeout_s / 4 if self._in_flight else timeout_s):
                await acknowledged.wait()
        except (BrokerError, TimeoutError):
            connection.close_without_disconnect()

    def _post_retained(
        self, connection: BrokerConnection, topic: str, payload: str, *, acknowledged: asyncio.Event | None = None
    ) -> None:
        """Publish a retained message that does not go through the outbox."""
        content_type = "application/json" if payload.startswith("{") else "text/plain"
        properties = publish_properties(content_type=content_type, expires_s=None, v5=connection.v5)
        connection.post(
            topic,
            payload,
            qos=self._qos,
            retain=True,
            properties=properties,
            outcome=lambda *_: acknowledged.set() if acknowledged else None,
        )

    async def _publish_all(self, connection: BrokerConnection) -> None:
        """Publish the outbox with several messages in flight, until it is empty during a close."""
        while not self._finished:
            self._wake.clear()
            await record_topics(self._outbox, self._journal)
            self._fill(connection)
            if not self._finished:
                await self._wake.wait()

    def _fill(self, connection: BrokerConnection) -> None:
        """Publish as much as may be in flight; alone a suspect, and on a quick broker what is new on its topic."""
        while self._in_flight < connection.limits.max_in_flight and not self._is_alone:
            message = self._next.popleft() if self._next else self._outbox.take(now_s=self._clock())
            if message is None:
                return
            is_suspect = self._refusals.is_suspect(message.topic)
            if is_suspect or (self._answer_s <= self._limits.trial_s and self._refusals.is_untried(message.topic)):
                if self._in_flight or (is_suspect and not self._refusals.is_settled):
                    self._next.appendleft(message)
                    if not self._in_flight:
                        self._wait_to_settle()
                    return
                self._is_alone = True
            self._publish(connection, message)

    def _wait_to_settle(self) -> None:
        """Publish nothing for a moment, in which the broker may close the connection."""
        self._is_alone = True
        self._settling = asyncio.get_running_loop().call_later(self._limits.settle_s, self._settle)

    def _settle(self) -> None:
        """Go on: the connection has outlived what was acknowledged."""
        self._refusals.settled()
        self._is_alone = False
        self._wake.set()

    @property
    def _finished(self) -> bool:
        """Whether a close has nothing left to deliver."""
        idle = not self._in_flight and not self._next and not self._is_alone
        return self._closing.is_set() and self._outbox.empty and idle

    def _publish(self, connection: BrokerConnection, message: Message) -> None:
        if not self._in_flight:
            self._progress_s = self._clock()  # the acknowledgement timeout starts here
        self._in_flight += 1
        expires_s = None if message.expires_at_s is None else message.expires_at_s - self._clock()
        properties = publish_properties(content_type=self._content_type(message), expires_s=expires_s, v5=connection.v5)
        connection.post(
            message.topic,
            message.payload,
            qos=self._qos,
            retain=message.rolling,
            properties=properties,
            outcome=lambda code, reason: self._on_outcome(message, code, reason),
        )

    def _on_outcome(self, message: Message, code: int, reason: str) -> None:
        """Handle the broker's answer to one message."""
        self._in_flight -= 1
        now_s = self._clock()
        if self._is_alone:
            self._answer_s += (now_s - self._progress_s - self._answer_s) / 4
            self._is_alone = False
            if code == NOT_AUTHORIZED or self._refusals.is_suspect(message.topic):
                self._wait_to_settle()
        self._progress_s = now_s
        self._wake.set()
        if code == QUOTA_EXCEEDED and self._quota.accept(message):
            return
        self._quota.answered(message)
        is_birth = message in self._birth
        if code >= MIN_FAILURE_CODE:
            if not is_birth:
                self._outbox.refuse(message)
                self._journal.mark_refused(message, reason)
            self._on_refused(message, reason)
        elif not is_birth:
            if self._outbox.acknowledge(message):
                self._journal.forget_retained(message.topic)
            self._tell_recovery()
        if not message.rolling and self._journal.mark_acknowledged(message) == ACKNOWLEDGED_BATCH:
            self._batch_acknowledged.set()

    async def _write_acknowledged(self) -> None:
        """Remove acknowledged messages from the journal, batch by batch."""
        while True:
            await self._batch_acknowledged.wait()
            self._batch_acknowledged.clear()
            await self._journal.write()

    async def _keep_house(self) -> None:
        """Periodically replace an unresponsive connection, drop what has expired, and write the journal."""
        while True:
            await asyncio.sleep(self._limits.housekeeping_s)
            if self._in_flight and self._clock() - self._progress_s > self._limits.ack_timeout_s:
                raise BrokerError(f"no acknowledgement for {self._limits.ack_timeout_s:g} s")
            self._housekeeping()
            if due := self._quota.due():
                self._next.extend(due)
                self._wake.set()
            await self._journal.write()
