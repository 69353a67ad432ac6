"""Messages from the broker: commands, if any are allowed, Home Assistant's status, other nodes' speaker events.

Commands are off unless the settings allow some; then the node subscribes to its command topic, executes commands one by
one, and answers each. The answer goes to the request's response topic (MQTT 5) if that is below the node's own response
topic, else to the node's response topic: with any topic permitted, a client that may send commands could publish
anywhere with the node's rights, as another node, or as an alert. A retained command is ignored, since it would be
executed again after every reconnect. A command that arrives again with the same id, as QoS 1 permits, is not executed
again: it gets the same reply.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Collection

from stream.clock import steady_s
from stream.control.commands import CommandReply, request_id
from stream.control.dispatcher import DEFECT
from stream.sinks.mqtt.connection import BrokerConnection, BrokerError, IncomingMessage
from stream.sinks.mqtt.neighbours import Neighbours
from stream.sinks.mqtt.properties import response_target
from stream.sinks.mqtt.replies import RateLimit, RecentReplies
from stream.sinks.mqtt.twins import TwinWatch

COMMAND_TIMEOUT_S = 60.0

COMMANDS_PER_S, COMMANDS_BURST = 5.0, 20.0
"""Commands that are executed; beyond that they are refused."""

MAX_CLOSED = 2
"""Connections that the broker closed at a subscription, after which the node does without it."""

Answer = Callable[[bytes, Collection[str]], Awaitable[CommandReply]]
"""Executes a command if it is among the allowed ones; an error becomes a reply."""

log = logging.getLogger(__name__)


class CommandReceiver:
    """Subscribes a connection to the command topic and handles its messages."""

    def __init__(
        self,
        *,
        topic: str,
        reply_topic: str,
        qos: int,
        allowed: Collection[str],
        status_topic: str = "",
        on_online: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = steady_s,
        twins: TwinWatch | None = None,
        neighbours: Neighbours | None = None,
    ) -> None:
        self._topic = topic
        self._reply_topic = reply_topic
        self._qos = qos
        self._allowed = frozenset(allowed)
        self._status_topic = status_topic
        self._on_online = on_online
        self._twins = twins
        self._neighbours = neighbours
        self._answer: Answer | None = None
        self._recent = RecentReplies(clock=clock)
        self._rate = RateLimit(per_s=COMMANDS_PER_S, burst=COMMANDS_BURST, clock=clock)
        self._refused_topics: set[str] = set()
        self._closed: Counter[str] = Counter()  # connections closed at the subscription to a topic

    def attach(self, answer: Answer) -> None:
        """Set the function that executes commands."""
        self._answer = answer

    async def subscribe(self, connection: BrokerConnection) -> None:
        """Subscribe to what is needed; returns once the broker has answered. Raises `BrokerError`."""
        watched = self._twins.topics if self._twins is not None else ()
        commands, neighbours = self._topic if self._allowed else "", self._neighbours.topic if self._neighbours else ""
        for topic in filter(None, [commands, self._status_topic, neighbours, *watched]):
            if self._closed[topic] >= MAX_CLOSED:
                continue
            try:
                refusal = await connection.subscribe_to(topic)
            except BrokerError:
                if connection.closed_by_broker:  # as AWS IoT does for a topic that its policy denies
                    self._closed[topic] += 1
                    if self._closed[topic] == MAX_CLOSED and topic not in watched:
                        self._warn(topic, "it closes the connection")
                raise
            self._closed.pop(topic, None)
            if refusal and topic not in watched:  # an access list need not permit what only serves to notice a mistake
                self._warn(topic, refusal)

    def _warn(self, topic: str, refusal: str) -> None:
        """Tell once that a subscription is refused."""
        if topic not in self._refused_topics:
            self._refused_topics.add(topic)
            log.warning("broker refuses the subscription to %s (%s); check its access list", topic, refusal)

    async def receive(self, connection: BrokerConnection) -> None:
        """Handle messages until the connection is lost. Raises `BrokerError`."""
        async for message in connection.messages:  # also detects a lost connection while nothing is published
            if str(message.topic) == self._topic:
                await self._execute(connection, message)
            elif self._twins is not None and str(message.topic) in self._twins.topics:
                self._twins.observe(connection, message)
            elif self._neighbours is not None and self._neighbours.receive(message):
                continue
            elif message.payload == b"online":
                self._on_online()

    async def _execute(self, connection: BrokerConnection, message: IncomingMessage) -> None:
        if message.retain:
            log.warning("ignored a retained command on %s; publish commands without retain", self._topic)
            return
        payload = message.payload if isinstance(message.payload, bytes) else str(message.payload).encode()
        identifier = request_id(payload)
        reply = self._recent.reply(identifier, payload)
        if reply is None:
            reply = await self._reply_to(payload, identifier)
            self._recent.remember(identifier, payload, reply)
        topic, properties = response_target(message, v5=connection.v5)
        if not topic.startswith(f"{self._reply_topic}/") or set(topic) & set("+#\0"):
            topic = self._reply_topic
        connection.post(topic, reply.model_dump_json(), qos=self._qos, retain=False, properties=properties)

    async def _reply_to(self, payload: bytes, identifier: str | None) -> CommandReply:
        """Execute a command within the rate limit."""
        if not self._rate.admit():
            if self._rate.is_first_refusal:
                log.warning("more than %g commands a second on %s; refusing some", COMMANDS_PER_S, self._topic)
            return CommandReply(id=identifier, ok=False, error="too many commands; retry in a second")
        reply = CommandReply(id=identifier, ok=False, error="this node does not take commands yet; retry in a moment")
        if self._answer is not None:
            try:
                async with asyncio.timeout(COMMAND_TIMEOUT_S):
                    reply = await self._answer(payload, self._allowed)
            except TimeoutError:
                reply = CommandReply(
                    id=identifier,
                    ok=False,
                    error=f"command timed out after {COMMAND_TIMEOUT_S:g} s; check with `status`",
                )
            except Exception:  # a defect; it must not end the node
                log.exception("a command on %s failed", self._topic)
                reply = CommandReply(id=identifier, ok=False, error=DEFECT)
        return reply
