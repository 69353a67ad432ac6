"""TCP server for Asterisk's AudioSocket; the protocol itself is `AudioSocketProtocol`.

The protocol has no authentication, so only connections from the networks in the settings are accepted.
"""

from __future__ import annotations

import asyncio
import contextlib

from stream.server import signatures
from stream.server.gateway import Gateway
from stream.server.protocols.audiosocket import AudioSocketProtocol

READ_BYTES = 16_384
CLOSE_TIMEOUT_S = 1.0


class AudioSocketServer:
    """Accepts AudioSocket connections for the gateway."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection; the callback of `asyncio.start_server`."""
        peer = str(writer.get_extra_info("peername", ("unknown",))[0])
        try:
            if not signatures.is_within(peer, self._gateway.settings.audiosocket_peers):
                self._gateway.count_rejected(AudioSocketProtocol.name)
                return
            await self._gateway.serve(_SocketTransport(reader, writer), AudioSocketProtocol(), peer=peer)
        except asyncio.CancelledError:  # the listener closes; asyncio would log an error
            pass
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError, TimeoutError):
                async with asyncio.timeout(CLOSE_TIMEOUT_S):
                    await writer.wait_closed()


class _SocketTransport:
    """A TCP connection as a `Transport`."""

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

    async def close(self, code: int, reason: str) -> None:  # noqa: ARG002 - TCP carries neither
        self._writer.close()

    def abort(self) -> None:
        self._writer.transport.abort()
