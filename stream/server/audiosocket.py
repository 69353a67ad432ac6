"""TCP server for Asterisk's AudioSocket; the protocol itself is `AudioSocketProtocol`.

The protocol has no authentication, so only connections from the networks in the settings are accepted. Asterisk hangs
up the caller unless a connection ends with a hang-up packet that it can read: what it sends meanwhile is read and
thrown away, since closing a socket with unread data resets the connection.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging

from stream.server import signatures
from stream.server.access import is_loopback
from stream.server.gateway import Gateway
from stream.server.protocols.audiosocket import HANG_UP_PACKET, AudioSocketProtocol
from stream.server.sockets import SocketBudget, SocketSlot

READ_BYTES = 4_096
"""Read at a time: 1,365 packets at most, 128 ms of audio at 16 kHz."""

CLOSE_TIMEOUT_S = 1.0

LINGER_S = 1.0
"""Time for the peer to close its side after the hang-up packet."""

log = logging.getLogger(__name__)


class AudioSocketServer:
    """Accepts AudioSocket connections for the gateway."""

    def __init__(self, gateway: Gateway, budget: SocketBudget) -> None:
        self._gateway, self._budget = gateway, budget

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection; the callback of `asyncio.start_server`."""
        peer = str(writer.get_extra_info("peername", ("unknown",))[0])
        slot = self._budget.admit(address=peer, is_local=is_loopback(peer), abort=writer.transport.abort)
        try:
            if slot is None:
                log.warning("no room for more connections (%d are open)", len(self._budget))
                return
            if not signatures.is_within(peer, self._gateway.settings.audiosocket_peers):
                message = "address not allowed; add its network to serve.audiosocket_peers"
                self._gateway.count_rejected(AudioSocketProtocol.name, peer=peer, message=message)
                writer.write(HANG_UP_PACKET)
                writer.write_eof()
                await _linger(reader)
                return
            await self._gateway.serve(_SocketTransport(reader, writer, slot), AudioSocketProtocol(), peer=peer)
            await _linger(reader)
        except asyncio.CancelledError:  # the listener closes; asyncio would log an error
            pass
        finally:
            if slot is not None:
                slot.release()
            writer.close()
            with contextlib.suppress(ConnectionError, TimeoutError):
                async with asyncio.timeout(CLOSE_TIMEOUT_S):
                    await writer.wait_closed()


async def _linger(reader: asyncio.StreamReader) -> None:
    """Throw away what the peer sends until it closes, for `LINGER_S` at most."""
    with contextlib.suppress(OSError, TimeoutError):
        async with asyncio.timeout(LINGER_S):
            while await reader.read(READ_BYTES):
                pass


class _SocketTransport:
    """A TCP connection as a `Transport`."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, slot: SocketSlot) -> None:
        self._reader, self._writer, self.slot = reader, writer, slot

    async def receive(self) -> bytes | None:
        data = await self._reader.read(READ_BYTES)
        if len(data) == READ_BYTES:  # more may have arrived, which is returned at once: others have their turn first
            await asyncio.sleep(0)
        return data or None

    async def send(self, data: str | bytes) -> None:
        self._writer.write(data.encode() if isinstance(data, str) else data)
        await self._writer.drain()

    async def close(self, code: int, reason: str) -> None:  # noqa: ARG002 - TCP carries neither
        """Close this side, and the other one if the peer does not within `LINGER_S`."""
        if not self._writer.is_closing():
            with contextlib.suppress(OSError):
                self._writer.write_eof()
            asyncio.get_running_loop().call_later(LINGER_S, self._writer.close)

    def abort(self) -> None:
        self._writer.transport.abort()
