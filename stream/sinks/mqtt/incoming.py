"""What comes from the broker: commands, where some are allowed, and Home Assistant's word that it has come up.

Commands are off unless the settings name some; then the node subscribes to its command topic, carries out one after
the other, and answers each: at the asker's response topic (MQTT 5, below our own prefix only, or anybody who may
command us could publish anywhere in our name), else at the node's own. A retained command is not obeyed: it would come
again with every connection.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection

from stream.control.commands import CommandReply
from stream.sinks.mqtt.connection import BrokerConnection, IncomingMessage, answering

PATIENCE_S = 60.0
"""How long a command may take."""

Answer = Callable[[bytes, Collection[str]], Awaitable[CommandReply]]
"""Carries out a command, if it is one of those allowed; never raises on purpose."""

log = logging.getLogger(__name__)


class CommandReceiver:
    """Reads what a connection brings, for as long as it lasts."""

    def __init__(
        self,
        *,
        topic: str,
        reply_topic: str,
        prefix: str,
        qos: int,
        allowed: Collection[str],
        status_topic: str = "",
        came_up: Callable[[], None] = lambda: None,
    ) -> None:
        self._topic = topic
        self._reply_topic = reply_topic
        self._prefix = prefix
        self._qos = qos
        self._allowed = frozenset(allowed)
        self._status_topic = status_topic
        self._came_up = came_up
        self._answer: Answer | None = None
        self._told: set[str] = set()  # topics the broker did not let us read

    def attach(self, answer: Answer) -> None:
        """Who carries commands out."""
        self._answer = answer

    async def listen(self, connection: BrokerConnection) -> None:
        """Until the connection is lost. Raises `BrokerError`."""
        wanted = [self._topic] if self._allowed else []
        for topic in (*wanted, *filter(None, [self._status_topic])):
            refusal = await connection.listen_to(topic)
            if refusal and topic not in self._told:
                self._told.add(topic)
                log.warning("the broker does not let us read %s (%s)", topic, refusal)
        async for message in connection.messages:  # also notices a lost connection while nothing is published
            if str(message.topic) == self._topic:
                await self._obey(connection, message)
            elif message.payload == b"online":
                self._came_up()

    async def _obey(self, connection: BrokerConnection, message: IncomingMessage) -> None:
        if message.retain:
            log.warning("a retained command on %s is not obeyed; publish commands without retain", self._topic)
            return
        payload = message.payload if isinstance(message.payload, bytes) else str(message.payload).encode()
        reply = CommandReply(ok=False, error="this node takes no commands now; try again in a moment")
        if self._answer is not None:
            try:
                async with asyncio.timeout(PATIENCE_S):
                    reply = await self._answer(payload, self._allowed)
            except TimeoutError:
                reply = CommandReply(
                    ok=False, error=f"the command was not done within {PATIENCE_S:g} s; ask for `status`"
                )
        where, properties = answering(message, v5=connection.v5)
        if not where.startswith(f"{self._prefix}/") or set(where) & set("+#\0"):
            where = self._reply_topic
        connection.post(where, reply.model_dump_json(), qos=self._qos, retain=False, properties=properties)
