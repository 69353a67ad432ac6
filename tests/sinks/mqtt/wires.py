"""Both ends of a wire: somebody who hears everything on a broker, and a wire that can be slow or cut."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from types import TracebackType
from typing import Self

import aiomqtt

from stream.settings import MqttSettings, Settings
from stream.sinks.mqtt.sink import MqttSink

PATIENCE_S = 30


class Subscriber:
    """Hears everything on a broker."""

    def __init__(self) -> None:
        self.messages: list[aiomqtt.Message] = []
        self._changed = asyncio.Event()

    def payloads(self, topic: str) -> list[str]:
        return [_text(message) for message in self.messages if str(message.topic) == topic]

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    async def listen(self, client: aiomqtt.Client) -> None:
        async for message in client.messages:
            self.messages.append(message)
            self._changed.set()


class Wire:
    """A TCP relay to a broker; while it is held nothing passes, and `cut` ends connections without a good-bye."""

    def __init__(self, port: int) -> None:
        self._to = port
        self._stack = AsyncExitStack()
        self._ends: list[asyncio.StreamWriter] = []
        self._relays: set[asyncio.Task[None]] = set()
        self._open = asyncio.Event()
        self._open.set()
        self.knocked = asyncio.Event()
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
        """New connections are taken, but nothing passes."""
        self._open.clear()
        self.knocked.clear()

    def release(self) -> None:
        self._open.set()

    def cut(self) -> None:
        for end in self._ends:
            end.transport.abort()
        self._ends.clear()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._ends.append(writer)
        self.knocked.set()
        relay = asyncio.create_task(self._relay(reader, writer), name="relay")
        self._relays.add(relay)

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._open.wait()
        try:
            back, forth = await asyncio.open_connection("127.0.0.1", self._to)
        except OSError:
            writer.transport.abort()
            return
        self._ends.append(forth)
        await asyncio.gather(_pump(reader, forth), _pump(back, writer))


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    writer.close()


@asynccontextmanager
async def subscriber(port: int) -> AsyncIterator[Subscriber]:
    heard = Subscriber()
    async with aiomqtt.Client("127.0.0.1", port, protocol=aiomqtt.ProtocolVersion.V5) as client:
        await client.subscribe("#", qos=1)
        listening = asyncio.create_task(heard.listen(client), name="subscriber")
        yield heard
        listening.cancel()


def sink(port: int, *, scheme: str = "mqtt", host: str = "127.0.0.1", **mqtt: object) -> MqttSink:
    """A sink of the node `kitchen` that keeps nothing on disk unless it is told where."""
    settings = Settings(
        node="kitchen", mqtt=MqttSettings.model_validate({"reconnect_max_s": 0.5, "outbox": "", **mqtt})
    )
    return MqttSink(target=f"{scheme}://{host}:{port}/home", settings=settings)


async def until(condition: Callable[[], bool]) -> None:
    """For what another task does, which tells nobody when it has."""
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


def _text(message: aiomqtt.Message) -> str:
    return message.payload.decode() if isinstance(message.payload, bytes) else str(message.payload)
