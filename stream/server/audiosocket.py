"""AudioSocket's TCP listener: a thin shell around `AudioSocketProtocol`.

It has no way to prove who calls, so it takes connections only from the networks that the settings name.
"""

from __future__ import annotations

import asyncio
import contextlib

from stream.server import signatures
from stream.server.gateway import Gateway
from stream.server.protocols.audiosocket import AudioSocketProtocol

READ_BYTES = 16_384


class AudioSocketServer:
    """Takes connections for the gateway."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        peer = str(writer.get_extra_info("peername", ("unknown",))[0])
        try:
            if not signatures.is_within(peer, self._gateway.settings.audiosocket_peers):
                self._gateway.turn_away(AudioSocketProtocol.name)
                return
            await self._gateway.serve(_SocketTransport(reader, writer), AudioSocketProtocol(), peer=peer)
        except asyncio.CancelledError:  # the listener closes; asyncio would call it an error
            pass
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError, TimeoutError):
                async with asyncio.timeout(1):
                    await writer.wait_closed()


class _SocketTransport:
    """A TCP connection as the gateway sees it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def receive(self) -> bytes | None:
        try:
            return await self._reader.read(READ_BYTES) or None
        except ConnectionError:
            return None

    async def send(self, data: str | bytes) -> None:
        self._writer.write(data.encode() if isinstance(data, str) else data)
        await self._writer.drain()

    async def close(self, code: int, reason: str) -> None:  # noqa: ARG002 - a socket is just closed
        self._writer.close()

    def abort(self) -> None:
        self._writer.transport.abort()
