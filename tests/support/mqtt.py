"""Both ends of an MQTT connection: a sink, a subscriber to all topics, and a TCP relay that can be held or cut."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from types import TracebackType
from typing import Self

import aiomqtt

from stream.clock import steady_s
from stream.settings import MqttSettings, Settings
from stream.sinks.mqtt.limits import DeliveryLimits
from stream.sinks.mqtt.sink import CLEAR_DELAY_S, DEFAULT_LIMITS, MqttSink
from tests.support.waiting import WAIT_TIMEOUT_S

FAST_LIMITS = DeliveryLimits(
    flush_timeout_s=0.2, idle_timeout_s=0.2, min_backoff_s=0.05, shutdown_timeout_s=0.2, housekeeping_s=0.05
)
"""Limits for tests that wait until a limit is reached."""


class Subscriber:
    """Receives every message of a broker."""

    def __init__(self) -> None:
        self.messages: list[aiomqtt.Message] = []
        self._changed = asyncio.Event()

    def payloads(self, topic: str) -> list[str]:
        """Payloads received on `topic`, in order."""
        return [_text(message) for message in self.messages if str(message.topic) == topic]

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait for messages until `condition` is true. Raises `TimeoutError`."""
        async with asyncio.timeout(WAIT_TIMEOUT_S):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    async def listen(self, client: aiomqtt.Client) -> None:
        """Collect the messages of `client` until it is cancelled."""
        async for message in client.messages:
            self.messages.append(message)
            self._changed.set()


class TcpRelay:
    """A TCP relay to a broker; while it is held no data passes, and `cut` aborts its connections."""

    def __init__(self, port: int) -> None:
        self._to = port
        self._stack = AsyncExitStack()
        self._writers: list[asyncio.StreamWriter] = []
        self._relays: set[asyncio.Task[None]] = set()
        self._released = asyncio.Event()
        self._released.set()
        self.accepted = asyncio.Event()
        self.port = 0

    async def __aenter__(self) -> Self:
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        self._stack.callback(server.close)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()
        self.cut()
        for relay in self._relays:
            relay.cancel()
        await asyncio.gather(*self._relays, return_exceptions=True)

    def hold(self) -> None:
        """Accept new connections without relaying their data."""
        self._released.clear()
        self.accepted.clear()

    def release(self) -> None:
        """Relay data again."""
        self._released.set()

    def cut(self) -> None:
        """Abort all connections."""
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        self.accepted.set()
        relay = asyncio.create_task(self._relay(reader, writer), name="relay")
        self._relays.add(relay)

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._released.wait()
        try:
            upstream_reader, upstream_writer = await asyncio.open_connection("127.0.0.1", self._to)
        except OSError:
            writer.transport.abort()
            return
        self._writers.append(upstream_writer)
        await asyncio.gather(_copy(reader, upstream_writer), _copy(upstream_reader, writer))


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    writer.close()


@asynccontextmanager
async def subscriber(port: int) -> AsyncIterator[Subscriber]:
    """A subscriber to all topics of the broker at `port`."""
    received = Subscriber()
    async with aiomqtt.Client("127.0.0.1", port, protocol=aiomqtt.ProtocolVersion.V5) as client:
        await client.subscribe("#", qos=1)
        listening = asyncio.create_task(received.listen(client), name="subscriber")
        yield received
        listening.cancel()


def mqtt_sink(
    port: int,
    *,
    scheme: str = "mqtt",
    host: str = "127.0.0.1",
    limits: DeliveryLimits = DEFAULT_LIMITS,
    clear_delay_s: float = CLEAR_DELAY_S,
    clock: Callable[[], float] = steady_s,
    node: str = "kitchen",
    **mqtt: object,
) -> MqttSink:
    """A sink of a node; it keeps no outbox on disk unless `outbox` names a folder."""
    settings = Settings(node=node, mqtt=MqttSettings.model_validate({"reconnect_max_s": 0.5, "outbox": "", **mqtt}))
    target = f"{scheme}://{host}:{port}/home"
    return MqttSink(target=target, settings=settings, limits=limits, clear_delay_s=clear_delay_s, clock=clock)


def _text(message: aiomqtt.Message) -> str:
    return message.payload.decode() if isinstance(message.payload, bytes) else str(message.payload)


class ShiftedClock:
    """A monotonic clock that a test can advance."""

    def __init__(self) -> None:
        self.shift_s = 0.0

    def __call__(self) -> float:
        return time.monotonic() + self.shift_s
