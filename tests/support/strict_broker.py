"""A small MQTT broker that closes the connection on what it refuses, as EMQX and AWS IoT can; MQTT 5 and 3.1.1.

It takes publications of QoS 0 and 1 and acknowledges them in order, answers subscriptions and pings, and delivers
nothing. What it refuses, and the properties of its CONNACK, are set by the test.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Self

CONNECT, PUBLISH, SUBSCRIBE, PINGREQ, DISCONNECT = 1, 3, 8, 12, 14
V5 = 5


@dataclass(frozen=True, slots=True)
class Publication:
    """One publication that the broker accepted."""

    topic: str
    payload: bytes
    qos: int
    retain: bool


class StrictBroker:
    """`refuses` decides by topic and packet size; `code` is the reason code of its DISCONNECT (MQTT 5), None: none.

    `answers` gives the reason code of a PUBACK by topic.
    """

    def __init__(
        self,
        *,
        refuses: Callable[[str, int], bool] = lambda topic, size: False,  # noqa: ARG005
        refuses_subscription: Callable[[str], bool] = lambda topic: False,  # noqa: ARG005
        answers: Callable[[str], int] = lambda topic: 0,  # noqa: ARG005
        code: int | None = None,
        connack_properties: bytes = b"",
    ) -> None:
        self._refuses = refuses
        self._refuses_subscription = refuses_subscription
        self._answers = answers
        self._code = code
        self._connack_properties = connack_properties
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.connections = 0
        self.publications: list[Publication] = []
        self.port = 0

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def payloads(self, topic: str) -> list[bytes]:
        """Payloads accepted on a topic, in order."""
        return [one.payload for one in self.publications if one.topic == topic]

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._tasks.add(asyncio.create_task(self._serve(reader, writer), name="strict broker"))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        version = V5
        try:
            while True:
                head, body = await _read_packet(reader)
                kind = head >> 4
                if kind == CONNECT:
                    version = body[6]
                    self.connections += 1
                    properties = bytes([len(self._connack_properties)]) + self._connack_properties
                    _send(writer, 0x20, b"\0\0" + (properties if version == V5 else b""))
                elif kind == PUBLISH:
                    if not self._publish(writer, head, body, version):
                        return
                elif kind == SUBSCRIBE:
                    if self._refuses_subscription(_subscribed(body, version)):
                        return
                    _send(writer, 0x90, body[:2] + (b"\0\1" if version == V5 else b"\1"))
                elif kind == PINGREQ:
                    _send(writer, 0xD0, b"")
                elif kind == DISCONNECT:
                    return
                await writer.drain()
        except (asyncio.IncompleteReadError, OSError):
            return
        finally:
            writer.close()

    def _publish(self, writer: asyncio.StreamWriter, head: int, body: bytes, version: int) -> bool:
        """Accept and acknowledge a publication; False if the connection must be closed for it."""
        qos, length = head >> 1 & 3, int.from_bytes(body[:2], "big")
        topic, rest = body[2 : 2 + length].decode(), body[2 + length :]
        packet_id, rest = (rest[:2], rest[2:]) if qos else (b"", rest)
        if self._refuses(topic, len(body) + 2):
            if version == V5 and self._code is not None:
                _send(writer, 0xE0, bytes([self._code, 0]))
            return False
        code = self._answers(topic)
        if qos:
            _send(writer, 0x40, packet_id + (bytes([code]) if version == V5 and code else b""))
        if not code:
            payload = rest[1 + rest[0] :] if version == V5 else rest
            self.publications.append(Publication(topic, payload, qos, bool(head & 1)))
        return True


def _subscribed(body: bytes, version: int) -> str:
    rest = body[3 + body[2] :] if version == V5 else body[2:]
    return rest[2 : 2 + int.from_bytes(rest[:2], "big")].decode()


async def _read_packet(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    head = (await reader.readexactly(1))[0]
    length = shift = 0
    while True:
        byte = (await reader.readexactly(1))[0]
        length |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return head, await reader.readexactly(length)


def _send(writer: asyncio.StreamWriter, head: int, body: bytes) -> None:
    writer.write(bytes([head, len(body)]) + body)
