"""From the outbox to the broker: connect, publish with several messages in flight, reconnect, part.

The broker's acknowledgement lets a message go (QoS 1 and 2); its refusal (MQTT 5) is counted and the message is not
tried again, or it would hold up those behind it for ever. A connection that breaks, or on which nothing is acknowledged
for `STALLED_S`, is followed by a fresh one after a pause that doubles up to `reconnect_max_s`, with jitter.

The broker knows us as `online` (retained) from the moment we connect; `offline` is our will, and is also published
before a clean exit, since a clean exit does not fire the will. An end waits for a broker that takes messages, not for
one that does not.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress

from stream.sinks.mqtt.connection import (
    FAILURE,
    GOODBYE_S,
    IN_FLIGHT,
    QUOTA_EXCEEDED,
    BrokerConnection,
    BrokerError,
    about,
)
from stream.sinks.mqtt.journal import Journal
from stream.sinks.mqtt.outbox import Message, Outbox

FLUSH_S = 5.0
"""How long an end waits at most; for a broker that was never reached, counted from our start."""

STILL_S = 1.0
"""How long an end waits for a broker that acknowledges nothing."""

FIRST_PAUSE_S = 0.5
STALLED_S = 10.0
HOUSEKEEPING_S = 1.0

RETIRED = 256
"""Acknowledged messages are taken from the disk when so many are, and at every housekeeping."""

State = tuple[str, str]
"""A retained topic and its payload."""

log = logging.getLogger(__name__)


class Delivery:
    """The task that empties an outbox."""

    def __init__(
        self,
        *,
        where: str,
        connect: Callable[[], BrokerConnection],
        outbox: Outbox,
        journal: Journal,
        qos: int,
        reconnect_max_s: float,
        greeting: Sequence[State],
        farewell: State,
        listen: Callable[[BrokerConnection], Awaitable[None]],
        refused: Callable[[Message, str], None],
        keep_house: Callable[[], None],
        content_type: Callable[[Message], str],
        clock: Callable[[], float],
    ) -> None:
        self._where = where
        self._connect = connect
        self._outbox = outbox
        self._journal = journal
        self._qos = qos
        self._reconnect_max_s = reconnect_max_s
        self._greeting = greeting
        self._farewell = farewell
        self._listen = listen
        self._refused = refused
        self._keep_house = keep_house
        self._content_type = content_type
        self._clock = clock
        self._wake = asyncio.Event()
        self._closing = asyncio.Event()
        self._warned = self._full = False
        self._flying = 0
        self._began_s = self._progress_s = 0.0
        self._task: asyncio.Task[None] | None = None
        self.connected = self.ever_connected = False
        self.reason = "no answer"

    def start(self) -> None:
        """Connect in the background, as often as it takes."""
        self._began_s = self._clock()
        self._task = asyncio.create_task(self._keep_connected(), name=f"mqtt {self._where}")

    def wake(self) -> None:
        """There is something in the outbox. Raises what the task died of, if it did: nothing would leave any more."""
        if self._task is not None and self._task.done() and not self._closing.is_set():
            self._task.result()
        self._wake.set()

    async def finish(self, *, patient: bool) -> None:
        """Deliver what can be delivered, say good-bye and end."""
        self._closing.set()
        self._wake.set()
        if self._task is None:
            return
        try:
            await self._flushed(self._task, patient=patient)
        finally:  # also when the closing itself is cut off
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def _flushed(self, task: asyncio.Task[None], *, patient: bool) -> None:
        """Wait until all is delivered, or until waiting on would be idle."""
        began_s = self._clock()
        while not task.done():
            until_s = max(began_s, self._progress_s) + STILL_S
            if patient and not self.ever_connected:
                until_s = max(until_s, self._began_s + FLUSH_S)  # a short run may end before a far broker has answered
            until_s = min(until_s, began_s + (FLUSH_S if patient else FIRST_PAUSE_S))
            if (left_s := until_s - self._clock()) <= 0:
                return
            await asyncio.wait([task], timeout=left_s)

    async def _keep_connected(self) -> None:
        """Connect and publish, again and again, until a clean end."""
        pause_s = FIRST_PAUSE_S
        while True:
            lost: BaseException | None = None
            try:
                await self._converse()
            except* (BrokerError, OSError) as group:
                lost = _first(group)
            if lost is None:
                return
            self.reason = str(lost)
            if self.connected or not self._warned:
                log.warning("%s does not take messages (%s); trying again until it does", self._where, lost)
                pause_s, self._warned = FIRST_PAUSE_S, True
            self.connected = False
            await self._rest(pause_s * random.uniform(0.5, 1.0))  # noqa: S311 - many nodes must not knock at once
            pause_s = min(2 * pause_s, self._reconnect_max_s)

    async def _rest(self, pause_s: float) -> None:
        """Pause before the next attempt; closing ends a pause, for what is owed has little time left."""
        if self._closing.is_set():
            await asyncio.sleep(min(pause_s, FIRST_PAUSE_S))
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(pause_s):
                await self._closing.wait()

    async def _converse(self) -> None:
        """One connection, from greeting to farewell. Raises a group around `BrokerError` when it is lost."""
        connection = self._connect()
        self._flying, self._full = 0, False
        async with connection:
            self.connected = self.ever_connected = True
            self._progress_s = self._clock()
            self._outbox.rewind()
            self._keep_house()  # what has grown too old in the meantime is not told any more
            try:
                for topic, payload in self._greeting:
                    self._tell(connection, topic, payload)
                async with asyncio.TaskGroup() as group:
                    beside = [
                        group.create_task(self._hear(connection), name="mqtt incoming"),
                        group.create_task(self._look_after(), name="mqtt housekeeping"),
                    ]
                    await self._publish_all(connection)
                    for task in beside:
                        task.cancel()
            finally:  # a connection that is closed cleanly does not fire the will, even when we are cut off
                await self._part(connection)

    async def _hear(self, connection: BrokerConnection) -> None:
        await self._listen(connection)

    async def _part(self, connection: BrokerConnection) -> None:
        """Say good-bye; a broker that does not listen learns of it by the will."""
        said = asyncio.Event()
        try:
            self._tell(connection, *self._farewell, said=said)
            async with asyncio.timeout(GOODBYE_S if not self._flying else GOODBYE_S / 4):
                await said.wait()
        except (BrokerError, TimeoutError):
            connection.drop()

    def _tell(
        self, connection: BrokerConnection, topic: str, payload: str, *, said: asyncio.Event | None = None
    ) -> None:
        """Publish what this connection is to begin or end with."""
        kind = "application/json" if payload.startswith("{") else "text/plain"
        properties = about(content_type=kind, expires_s=None, v5=connection.v5)
        connection.post(
            topic,
            payload,
            qos=self._qos,
            retain=True,
            properties=properties,
            outcome=lambda *_: said.set() if said else None,
        )

    async def _publish_all(self, connection: BrokerConnection) -> None:
        """Publish what is owed, several messages in flight, until closing and nothing is owed."""
        while not (self._closing.is_set() and self._outbox.empty and not self._flying):
            self._wake.clear()
            while self._flying < IN_FLIGHT and (message := self._outbox.take(now_s=self._clock())) is not None:
                self._publish(connection, message)
            if self._full:
                raise BrokerError("the broker has no room for more")
            if not (self._closing.is_set() and self._outbox.empty and not self._flying):
                await self._wake.wait()

    def _publish(self, connection: BrokerConnection, message: Message) -> None:
        def told(code: int, reason: str) -> None:
            self._flying -= 1
            self._progress_s = self._clock()
            self._wake.set()
            if code == QUOTA_EXCEEDED:  # not this message's fault: it is tried again on the next connection
                self._full = True
                return
            if code >= FAILURE:
                self._outbox.refuse(message)
                self._refused(message, reason)
            else:
                self._outbox.acknowledge(message)
            if not message.rolling and self._journal.retire(message) == RETIRED:
                self._writing = asyncio.create_task(self._journal.write(), name="outbox")

        if not self._flying:
            self._progress_s = self._clock()  # from now on something is due
        self._flying += 1
        expires_s = None if message.until_s is None else message.until_s - self._clock()
        properties = about(content_type=self._content_type(message), expires_s=expires_s, v5=connection.v5)
        connection.post(
            message.topic,
            message.payload,
            qos=self._qos,
            retain=message.rolling,
            properties=properties,
            outcome=told,
        )

    async def _look_after(self) -> None:
        """Once a second: notice a broker that acknowledges nothing, and take from the disk what it has."""
        while True:
            await asyncio.sleep(HOUSEKEEPING_S)
            if self._flying and self._clock() - self._progress_s > STALLED_S:
                raise BrokerError(f"it has acknowledged nothing for {STALLED_S:g} s")
            self._keep_house()
            await self._journal.write()


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
