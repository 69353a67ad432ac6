"""Delivery of the outbox to the broker: connect, publish with several messages in flight, reconnect, close.

An acknowledgement removes a message from the outbox (QoS 1 and 2). A refusal (MQTT 5) is counted and the message is not
retried, or it would block those behind it. A connection that is lost, or on which nothing is acknowledged for
`ack_timeout_s`, is replaced by a new one after a backoff that doubles up to `reconnect_max_s`, with jitter.

The node is `online` (retained) once its command topics are subscribed and acknowledged. `offline` is the will, and is
also published before a clean disconnect, which does not trigger the will. A close waits for a broker that acknowledges
messages, not for one that does not.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from stream.sinks.mqtt.connection import (
    MAX_IN_FLIGHT_MESSAGES,
    MIN_FAILURE_CODE,
    QUOTA_EXCEEDED,
    SHUTDOWN_TIMEOUT_S,
    BrokerConnection,
    BrokerError,
    cancel_and_wait,
    publish_properties,
)
from stream.sinks.mqtt.journal import Journal
from stream.sinks.mqtt.outbox import Message, Outbox

ACKNOWLEDGED_BATCH = 256
"""Acknowledged messages that trigger a journal write before the next housekeeping."""

RetainedMessage = tuple[str, str]
"""A topic and its retained payload."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class DeliveryLimits:
    """Time limits of a delivery, in seconds."""

    flush_timeout_s: float = 5.0
    """Longest wait of a close; before the first connection it counts from the start of the delivery."""

    idle_timeout_s: float = 1.0
    """Longest wait of a close without an acknowledgement."""

    abort_timeout_s: float = 0.5
    """Longest wait of a close after an error."""

    min_backoff_s: float = 0.5
    """Pause before the first reconnect, and the longest one while closing."""

    ack_timeout_s: float = 10.0
    """A connection with messages in flight and no acknowledgement for so long is replaced."""

    housekeeping_s: float = 1.0
    """Period of housekeeping."""

    shutdown_timeout_s: float = SHUTDOWN_TIMEOUT_S
    """Longest wait for the acknowledgement of `offline`."""


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
        self._outbox = outbox
        self._journal = journal
        self._qos = qos
        self._reconnect_max_s = reconnect_max_s
        self._birth = birth
        self._offline = offline
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
        self._warned = self._quota_exceeded = False
        self._in_flight = 0
        self._started_s = self._progress_s = 0.0
        self._task: asyncio.Task[None] | None = None
        self.connected = self.ever_connected = False
        self.failure = "no answer"

    def start(self) -> None:
        """Start connecting in the background."""
        self._started_s = self._clock()
        self._task = asyncio.create_task(self._keep_connected(), name=f"mqtt {self._broker}")

    def wake(self) -> None:
        """Signal that the outbox has messages. Raises the error that ended the delivery, if one did."""
        if self._task is not None and self._task.done() and not self._closing.is_set():
            self._task.result()
        self._wake.set()

    async def close(self, *, after_error: bool) -> None:
        """Deliver what the limits permit, publish `offline` and disconnect."""
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
            try:
                await self._run_connection()
            except* (BrokerError, OSError) as group:
                lost = _first_error(group)
            if lost is None:
                return
            self.failure = str(lost)
            if self.connected or not self._warned:
                log.warning("%s: connection lost (%s); retrying", self._broker, lost)
                backoff_s, self._warned = self._limits.min_backoff_s, True
            self.connected = False
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
        self._in_flight, self._quota_exceeded = 0, False
        async with connection:
            try:
                await self._subscribe(connection)
                self.connected = self.ever_connected = True
                self._progress_s = self._clock()
                self._outbox.requeue_unacknowledged()
                self._housekeeping()  # drops what has expired during the outage
                for topic, payload in self._birth:
                    self._post_retained(connection, topic, payload)
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
                await self._publish_offline(connection)

    async def _publish_offline(self, connection: BrokerConnection) -> None:
        """Publish `offline`; if the broker does not acknowledge it, close so that it publishes the will."""
        acknowledged = asyncio.Event()
        timeout_s = self._limits.shutdown_timeout_s
        try:
            self._post_retained(connection, *self._offline, acknowledged=acknowledged)
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
            while self._in_flight < MAX_IN_FLIGHT_MESSAGES:
                message = self._outbox.take(now_s=self._clock())
                if message is None:
                    break
                self._publish(connection, message)
            if self._quota_exceeded:
                raise BrokerError("quota exceeded")
            if not self._finished:
                await self._wake.wait()

    @property
    def _finished(self) -> bool:
        """Whether a close has nothing left to deliver."""
        return self._closing.is_set() and self._outbox.empty and not self._in_flight

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
        self._progress_s = self._clock()
        self._wake.set()
        if code == QUOTA_EXCEEDED:  # not the message's fault: it is published again on the next connection
            self._quota_exceeded = True
            return
        if code >= MIN_FAILURE_CODE:
            self._outbox.refuse(message)
            self._on_refused(message, reason)
        else:
            self._outbox.acknowledge(message)
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
            await self._journal.write()


def _first_error(group: BaseExceptionGroup[BaseException]) -> BaseException:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
